import { open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pack } from 'tar-stream';
import { afterAll, describe, expect, test } from 'vitest';
import { formatManifest, type Manifest, sealManifest } from '../../../src/store/manifest.js';
import { openTarBytes } from '../../../src/store/tar/decompress.js';
import { readArchive } from '../../../src/store/tar/read-archive.js';
import { type ArchiveScene, dropArchiveScene, small, withArchiveScene } from './archive-scene.js';
import { zstdOf } from './compressed.js';

afterAll(dropArchiveScene);

interface Entry {
  name: string;
  type?: 'file' | 'link' | 'symlink' | 'directory' | 'character-device';
  linkname?: string;
  pax?: Record<string, string>;
  body?: Buffer;
}

async function tarOf(entries: Entry[]): Promise<Buffer> {
  const archive = pack();
  for (const { body, ...header } of entries) {
    if (body === undefined) archive.entry(header);
    else archive.entry({ ...header, size: body.length }, body);
  }
  archive.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of archive as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks);
}

const manifestEntry = (manifest: Manifest): Entry => ({
  name: 'manifest.json',
  body: Buffer.from(formatManifest(manifest)),
});

/** Reads all of an archive, as an import does, and gives what it was refused for. */
async function refusal(scene: ArchiveScene, bytes: Buffer): Promise<string> {
  const path = join(scene.dir, 'hostile.tar');
  await writeFile(path, bytes);
  const file = await open(path, 'r');
  try {
    const input = { from: 'file' as const, fd: file.fd, sizeBytes: bytes.length };
    let last = 0;
    await readArchive(input, { label: 'hostile.tar' }, async ({ entries }) => {
      for await (const { pieces, sizeBytes } of entries) {
        let position = 0;
        for await (const { offset, data } of pieces) {
          expect(offset).toBeGreaterThanOrEqual(position);
          position = offset + data.length;
          expect(position).toBeLessThanOrEqual(sizeBytes);
          last += data.length;
        }
      }
    });
    return `not refused: ${last} bytes`;
  } catch (error) {
    expect(error).toMatchObject({ code: 'SnapshotDamaged' });
    return (error as { facts: { problem: string } }).facts.problem;
  } finally {
    await file.close();
  }
}

const image = Buffer.alloc(300_123, 'image');
const sparse = (keys: Record<string, string>): Record<string, string> => ({
  'GNU.sparse.major': '1',
  'GNU.sparse.minor': '0',
  'GNU.sparse.name': 'ubd0.img',
  'GNU.sparse.realsize': String(image.length),
  ...keys,
});
const withMap = (map: string, data: Buffer = Buffer.alloc(0)) => {
  const head = Buffer.alloc(Math.ceil(map.length / 512) * 512);
  head.write(map);
  return Buffer.concat([head, data]);
};

const entries: [string, Entry[], RegExp][] = [
  [
    'a name that leads out',
    [{ name: '../../etc/passwd', body: image }],
    /doesn't know its entry "\.\.\/\.\.\/etc\/passwd"/,
  ],
  ['an absolute name', [{ name: '/etc/passwd', body: image }], /doesn't know its entry "\/etc\/passwd"/],
  [
    'a sparse name that leads out',
    [{ name: 'ubd0.img', pax: sparse({ 'GNU.sparse.name': '../ubd0.img' }), body: withMap('0\n') }],
    /doesn't know its entry "\.\.\/ubd0\.img"/,
  ],
  [
    'a symbolic link in the place of an image',
    [{ name: 'ubd0.img', type: 'symlink', linkname: '/etc/passwd' }],
    /of type symlink/,
  ],
  [
    'a hard link in the place of an image',
    [{ name: 'ubd0.img', type: 'link', linkname: 'manifest.json' }],
    /of type link/,
  ],
  ['a device', [{ name: 'ubd0.img', type: 'character-device' }], /of type character-device/],
  ['a directory that is none of ours', [{ name: 'etc/', type: 'directory' }], /of type directory/],
  [
    'an image twice',
    [
      { name: 'ubd0.img', body: image },
      { name: 'ubd0.img', body: image },
    ],
    /or it is there twice/,
  ],
  [
    'a second manifest',
    [
      { name: 'ubd0.img', body: image },
      { name: 'manifest.json', body: image },
    ],
    /doesn't know its entry "manifest\.json"/,
  ],
  ['no image', [], /^ubd0\.img is missing/],
  [
    'an image that is longer than its manifest says',
    [{ name: 'ubd0.img', body: Buffer.alloc(300_124) }],
    /has 300124 bytes where the manifest says 300123/,
  ],
  [
    'a real size of 8 EiB',
    [
      {
        name: 'ubd0.img',
        pax: sparse({ 'GNU.sparse.realsize': '9223372036854775807' }),
        body: withMap('0\n'),
      },
    ],
    /where the manifest says 300123/,
  ],
  [
    'a negative real size',
    [{ name: 'ubd0.img', pax: sparse({ 'GNU.sparse.realsize': '-1' }), body: withMap('0\n') }],
    /where the manifest says 300123/,
  ],
  [
    'a map that announces what it does not have',
    [{ name: 'ubd0.img', pax: sparse({}), body: withMap('9\n0\n512\n') }],
    /not made of numbers|ends within the map/,
  ],
  [
    'a map of a million regions and no data',
    [{ name: 'ubd0.img', pax: sparse({}), body: withMap('9999999\n') }],
    /its map has 9999999 regions/,
  ],
  [
    'a map beyond the end',
    [{ name: 'ubd0.img', pax: sparse({}), body: withMap('1\n300032\n512\n', Buffer.alloc(512)) }],
    /leads beyond its end/,
  ],
  [
    'a map that goes back',
    [{ name: 'ubd0.img', pax: sparse({}), body: withMap('2\n1024\n512\n0\n512\n', Buffer.alloc(1024)) }],
    /does not follow/,
  ],
  [
    'less data than its map says',
    [{ name: 'ubd0.img', pax: sparse({}), body: withMap('1\n0\n1024\n', Buffer.alloc(512)) }],
    /512 bytes of data where its map says 1024/,
  ],
  [
    'more data than its map says',
    [{ name: 'ubd0.img', pax: sparse({}), body: withMap('1\n0\n512\n', Buffer.alloc(1024)) }],
    /1024 bytes of data where its map says 512/,
  ],
  [
    'a body that ends within its map',
    [{ name: 'ubd0.img', pax: sparse({}), body: Buffer.from('2\n0\n') }],
    /ends within the map/,
  ],
  [
    'a sparse format that is not known',
    [{ name: 'ubd0.img', pax: sparse({ 'GNU.sparse.major': '2' }), body: image }],
    /other than 1\.0 and 0\.1/,
  ],
];

describe('a hostile archive', () => {
  test.each(entries)('with %s is refused', async (_, hostile, problem) => {
    await withArchiveScene(async (scene) => {
      const { manifest } = await scene.content(small);
      expect(await refusal(scene, await tarOf([manifestEntry(manifest), ...hostile]))).toMatch(problem);
    });
  });

  test('whose manifest is not sound, too long, not first, or of another kind is refused', async () => {
    await withArchiveScene(async (scene) => {
      const { manifest } = await scene.content(small);
      const text = formatManifest(manifest);
      const bodyOf = (body: string | Buffer) => tarOf([{ name: 'manifest.json', body: Buffer.from(body) }]);
      expect(await refusal(scene, await bodyOf(text.replace('"synced"', '"frozen"')))).toMatch(/checksum/);
      expect(await refusal(scene, await bodyOf('{"snapshot": 5}'))).toMatch(/can't be read/);
      expect(await refusal(scene, await bodyOf(Buffer.alloc(2 ** 20 + 1)))).toMatch(
        /manifest has 1048577 bytes/,
      );
      expect(
        await refusal(scene, await tarOf([{ name: 'manifest.json', type: 'symlink', linkname: 'x' }])),
      ).toMatch(/first entry/);
      expect(await refusal(scene, await tarOf([]))).toMatch(/empty/);
      expect(await refusal(scene, Buffer.alloc(0))).toMatch(/empty/);
      expect(await refusal(scene, Buffer.alloc(5000, 'no tar at all'))).toMatch(/no sound tar/);
    });
  });

  test('whose manifest gives one name to two files, or belongs to no guest, is refused', async () => {
    await withArchiveScene(async (scene) => {
      const { manifest } = await scene.content(small);
      const { checksum: _, disks, ...facts } = manifest;
      const [disk] = disks;
      if (disk === undefined) throw new Error('the scene has no disk');
      const twice = sealManifest({ ...facts, disks: [disk, { ...disk, device: 'ubd1' }] });
      const asManifest = sealManifest({ ...facts, disks: [{ ...disk, file: 'manifest.json' }] });
      const elsewhere = sealManifest({ ...facts, disks, snapshot: '../../etc@20261121T031500Z' });
      const ofAnother = sealManifest({ ...facts, disks, snapshot: 'other@20261121T031500Z' });
      for (const [bad, problem] of [
        [twice, /to more than one file/],
        [asManifest, /to more than one file/],
        [elsewhere, /belongs to/],
        [ofAnother, /belongs to/],
      ] as const) {
        expect(await refusal(scene, await tarOf([manifestEntry(bad)]))).toMatch(problem);
      }
    });
  });

  test('that goes on for ever behind its last image is left after what its manifest speaks of', async () => {
    await withArchiveScene(async (scene) => {
      const { manifest } = await scene.content(small);
      const whole = await tarOf([manifestEntry(manifest), { name: 'ubd0.img', body: image }]);
      const bomb = await zstdOf(Buffer.alloc(64 * 2 ** 20));
      const bytes = Buffer.concat([await zstdOf(whole), ...Array.from({ length: 20 }, () => bomb)]);
      expect(bytes.length).toBeLessThan(400_000);
      expect(await refusal(scene, bytes)).toMatch(/more in it than its manifest speaks of/);
    });
  });

  test('is left in the middle without a zstd that lives on', async () => {
    await withArchiveScene(async (scene) => {
      const path = join(scene.dir, 'long.zst');
      await writeFile(path, await zstdOf(Buffer.alloc(64 * 2 ** 20)));
      const file = await open(path, 'r');
      const bytes = await openTarBytes({ from: 'file', fd: file.fd, sizeBytes: 1 }, undefined);
      for await (const chunk of bytes.chunks) {
        expect(chunk.length).toBeGreaterThan(0);
        break;
      }
      // Returns once the program has ended.
      await bytes.close();
      await file.close();
    });
  });
});
