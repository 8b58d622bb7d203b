import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { formatManifest, type Manifest, sealManifest } from '../../../src/store/manifest.js';
import { openTarBytes } from '../../../src/store/tar/decompress.js';
import { readArchive } from '../../../src/store/tar/read-archive.js';
import { withOpen } from '../../image/make-image.js';
import { small } from './archive-scene.js';
import { freshArchiveScene } from './fresh-archive-scene.js';
import { type Entry, manifestEntry, tarOf, zstdOf } from './hand-made.js';

const scene = freshArchiveScene();

const manifestOfSmall = async () => (await scene.content(small)).manifest;

/** Reads all of an archive, as an import does, and gives what it was refused for. */
async function refusal(archive: Buffer | Entry[]): Promise<string> {
  const bytes = Buffer.isBuffer(archive) ? archive : await tarOf(archive);
  const path = join(scene.dir, 'hostile.tar');
  await writeFile(path, bytes);
  let readBytes = 0;
  const error: unknown = await withOpen(path, 'r', async ({ fd }) => {
    const input = { from: 'file' as const, fd, sizeBytes: bytes.length };
    await readArchive(input, { label: 'hostile.tar' }, async ({ entries }) => {
      for await (const { pieces, sizeBytes } of entries) {
        let position = 0;
        for await (const { offset, data } of pieces) {
          expect(offset).toBeGreaterThanOrEqual(position);
          position = offset + data.length;
          expect(position).toBeLessThanOrEqual(sizeBytes);
          readBytes += data.length;
        }
      }
    });
    return `not refused: ${readBytes} bytes`;
  }).catch((thrown) => thrown);
  expect(error).toMatchObject({ code: 'SnapshotDamaged' });
  return (error as { facts: { problem: string } }).facts.problem;
}

const image = Buffer.alloc(300_123, 'image');

/** An entry of GNU's sparse format, whose body begins with this map. */
function sparse(map: string, dataBytes = 0, keys: Record<string, string> = {}): Entry {
  const head = Buffer.alloc(Math.ceil(map.length / 512) * 512);
  head.write(map);
  const pax = {
    ...{ 'GNU.sparse.major': '1', 'GNU.sparse.minor': '0', 'GNU.sparse.name': 'ubd0.img' },
    ...{ 'GNU.sparse.realsize': String(image.length), ...keys },
  };
  return { name: 'ubd0.img', pax, body: Buffer.concat([head, Buffer.alloc(dataBytes)]) };
}

const ofSize = (realsize: string) => sparse('0\n', 0, { 'GNU.sparse.realsize': realsize });
const ubd0 = { name: 'ubd0.img' };
const unknown = (name: string) => `doesn't know its entry "${name}"`;

const hostile: [string, Entry | Entry[], string | RegExp][] = [
  ['a name that leads out', { name: '../../etc/passwd', body: image }, unknown('../../etc/passwd')],
  ['an absolute name', { name: '/etc/passwd', body: image }, unknown('/etc/passwd')],
  [
    'a sparse name that leads out',
    sparse('0\n', 0, { 'GNU.sparse.name': '../ubd0.img' }),
    unknown('../ubd0.img'),
  ],
  ['a symbolic link for an image', { ...ubd0, type: 'symlink', linkname: '/etc/passwd' }, 'of type symlink'],
  ['a hard link for an image', { ...ubd0, type: 'link', linkname: 'manifest.json' }, 'of type link'],
  ['a device', { ...ubd0, type: 'character-device' }, 'of type character-device'],
  ['a directory that is none of ours', { name: 'etc/', type: 'directory' }, 'of type directory'],
  ['an image twice', Array(2).fill({ ...ubd0, body: image }), 'or it is there twice'],
  [
    'a second manifest',
    [
      { ...ubd0, body: image },
      { name: 'manifest.json', body: image },
    ],
    unknown('manifest.json'),
  ],
  ['no image', [], /^ubd0\.img is missing/],
  [
    'a longer image',
    { ...ubd0, body: Buffer.alloc(300_124) },
    'has 300124 bytes where the manifest says 300123',
  ],
  ['a real size of 8 EiB', ofSize('9223372036854775807'), 'where the manifest says 300123'],
  ['a negative real size', ofSize('-1'), 'where the manifest says 300123'],
  [
    'a map of regions that it does not have',
    sparse('9\n0\n512\n'),
    /not made of numbers|ends within the map/,
  ],
  ['a map of a million regions and no data', sparse('9999999\n'), 'its map has 9999999 regions'],
  ['a map beyond the end', sparse('1\n300032\n512\n', 512), 'leads beyond its end'],
  ['a map that goes back', sparse('2\n1024\n512\n0\n512\n', 1024), 'does not follow'],
  ['less data than its map says', sparse('1\n0\n1024\n', 512), '512 bytes of data where its map says 1024'],
  ['more data than its map says', sparse('1\n0\n512\n', 1024), '1024 bytes of data where its map says 512'],
  ['a body that ends within its map', { ...sparse(''), body: '2\n0\n' }, 'ends within the map'],
  ['an unknown sparse format', sparse('0\n', 0, { 'GNU.sparse.major': '2' }), 'other than 1.0 and 0.1'],
];

describe('a hostile archive (fault 70)', () => {
  test.each(hostile)('with %s is refused', async (_, made, problem) => {
    const entries = [manifestEntry(await manifestOfSmall()), ...[made].flat()];
    expect(await refusal(entries)).toMatch(problem);
  });

  test('whose manifest is not sound, too long, not first, or of another kind is refused', async () => {
    const text = formatManifest(await manifestOfSmall());
    const withManifest = (body: string | Buffer) => refusal([{ name: 'manifest.json', body }]);
    expect(await withManifest(text.replace('"synced"', '"frozen"'))).toMatch(/checksum/);
    expect(await withManifest('{"snapshot": 5}')).toMatch(/can't be read/);
    expect(await withManifest(Buffer.alloc(2 ** 20 + 1))).toMatch(/manifest has 1048577 bytes/);
    const link: Entry = { name: 'manifest.json', type: 'symlink', linkname: 'x' };
    expect(await refusal([link])).toMatch(/first entry/);
    expect(await refusal([])).toMatch(/empty/);
    expect(await refusal(Buffer.alloc(0))).toMatch(/empty/);
    expect(await refusal(Buffer.alloc(5000, 'no tar at all'))).toMatch(/no sound tar/);
  });

  test('whose manifest gives one name to two files, or belongs to no guest, is refused', async () => {
    const { checksum: _, ...facts } = await manifestOfSmall();
    const [disk] = facts.disks;
    if (disk === undefined) throw new Error('the scene has no disk');
    const changes: [Partial<Manifest>, RegExp][] = [
      [{ disks: [disk, { ...disk, device: 'ubd1' }] }, /to more than one file/],
      [{ disks: [{ ...disk, file: 'manifest.json' }] }, /to more than one file/],
      [{ snapshot: '../../etc@20261121T031500Z' }, /belongs to/],
      [{ snapshot: 'other@20261121T031500Z' }, /belongs to/],
    ];
    for (const [change, problem] of changes)
      expect(await refusal([manifestEntry(sealManifest({ ...facts, ...change }))])).toMatch(problem);
  });

  test('that goes on for ever behind its last image is left after what its manifest speaks of', async () => {
    const whole = await tarOf([manifestEntry(await manifestOfSmall()), { name: 'ubd0.img', body: image }]);
    const bomb = zstdOf(Buffer.alloc(64 * 2 ** 20));
    const bytes = Buffer.concat([zstdOf(whole), ...Array.from({ length: 20 }, () => bomb)]);
    expect(bytes.length).toBeLessThan(400_000);
    expect(await refusal(bytes)).toMatch(/more in it than its manifest speaks of/);
  });

  test('for which zstd would need gigabytes of memory is refused', async () => {
    const whole = await tarOf([manifestEntry(await manifestOfSmall()), { name: 'ubd0.img', body: image }]);
    expect(await refusal(zstdOf(whole, '--ultra', '--long=31'))).toMatch(/compression is damaged: .*memory/i);
  });

  test('is left in the middle without a zstd that lives on', async () => {
    const path = join(scene.dir, 'long.zst');
    await writeFile(path, zstdOf(Buffer.alloc(64 * 2 ** 20)));
    await withOpen(path, 'r', async ({ fd }) => {
      const bytes = await openTarBytes({ from: 'file', fd, sizeBytes: 1 }, undefined);
      for await (const chunk of bytes.chunks) {
        expect(chunk.length).toBeGreaterThan(0);
        break;
      }
      // Returns once the program has ended.
      await bytes.close();
    });
  });
});
