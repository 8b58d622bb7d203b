import { createHash } from 'node:crypto';
import { mkdir, open, readdir, stat, truncate, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { beforeAll, describe, expect, test } from 'vitest';
import { DirectoryStore } from '../../src/store/directory-store.js';
import { formatManifest, type Manifest, sealManifest } from '../../src/store/manifest.js';
import { type Entry, manifestEntry, tarOf, zstdOf } from '../store/tar/hand-made.js';
import { expectFailed, setScene, withScene } from '../support/scene.js';
import { waitFor } from '../support/wait-for.js';

/** What says of a few KiB that it is terabytes, where somebody else may write to a store or send an archive. */

const tebibyte = 2 ** 40;
const time = '20261121T031500Z';

const scene = setScene({ guest: null });
const archives = () => scene.path('archives');

beforeAll(async () => {
  const stores = {
    local: { type: 'directory', path: scene.store },
    archives: { type: 'tar', path: archives() },
  };
  await scene.configure({}, { stores });
  for (const [name, path] of [
    ['local', scene.store],
    ['archives', archives()],
  ] as const)
    await new DirectoryStore({ name, path }).prepare(null);
});

function manifestOf(guest: string, sizeBytes: number, content: Buffer): Manifest {
  const sha256 = createHash('sha256').update(content).digest('hex');
  const disk = {
    ...{ device: 'ubd0', kind: 'raw' as const, sourcePath: '/srv/ubd0.img', file: 'ubd0.img' },
    ...{ sizeBytes, storedBytes: 0, mtime: '2026-11-21T03:14:00.000Z', sha256 },
  };
  return sealManifest({
    ...{ format: 'umlsnap/1', snapshot: `${guest}@${time}`, guest, job: 'job-1', pinned: false, labels: {} },
    ...{ takenAt: '2026-11-21T03:15:00.000Z', kernel: 'Linux', consistency: 'synced', dirtyKib: 0 },
    ...{ method: 'copy', pausedMs: 1, disks: [disk] },
  });
}

/** One hole of this size. */
async function hole(guest: string, sizeBytes: number): Promise<Buffer> {
  const pax = {
    ...{ 'GNU.sparse.major': '1', 'GNU.sparse.minor': '0', 'GNU.sparse.name': 'ubd0.img' },
    ...{ 'GNU.sparse.realsize': String(sizeBytes) },
  };
  const body = Buffer.alloc(512);
  body.write(`1\n${sizeBytes}\n0\n`);
  const entries: Entry[] = [{ name: 'ubd0.img', pax, body }];
  return await tarOf([manifestEntry(manifestOf(guest, sizeBytes, Buffer.alloc(0))), ...entries]);
}

/** Behind a small image that is what it should be, gigabytes of nothing. */
async function bomb(guest: string, compress: (bytes: Buffer) => Buffer, pieces: number): Promise<Buffer> {
  const image = Buffer.alloc(70_001, 'a disk ');
  const whole = await tarOf([
    manifestEntry(manifestOf(guest, image.length, image)),
    { name: 'ubd0.img', body: image },
  ]);
  const piece = compress(Buffer.alloc(2 ** 26));
  return Buffer.concat([compress(whole), ...Array.from({ length: pieces }, () => piece)]);
}

/** A frame of zstd that holds nothing, made of holes: so much is to be read before, or after, anything comes of it. */
async function writeNothings(path: string, at: number, untilBytes: number): Promise<void> {
  const frameBytes = 2 ** 32 - 2 ** 20;
  const file = await open(path, at === 0 ? 'w' : 'r+');
  try {
    for (let offset = at; offset < untilBytes; offset += frameBytes) {
      const header = Buffer.alloc(8);
      header.writeUInt32LE(0x184d2a50, 0);
      header.writeUInt32LE(frameBytes - 8, 4);
      await file.write(header, 0, 8, offset);
    }
  } finally {
    await file.close();
  }
  await truncate(path, untilBytes);
}

async function expectNothingKept(): Promise<void> {
  expect(await scene.listed()).toEqual([]);
  expect(await scene.incomings()).toEqual([]);
  for (const place of ['scratch', 'drill'])
    expect(await readdir(join(scene.state, place)).catch(() => [])).toEqual([]);
}

interface Forged {
  what: string;
  guest: string;
  extension: string;
  write(path: string, guest: string): Promise<void>;
  code: string;
  /** Where it is not even listed as sound. */
  isDamaged?: boolean;
}

const forged: Forged[] = [
  {
    ...{ what: 'a disk of 8 TiB in 10 KiB', guest: 'wide', extension: 'tar', code: 'TooLarge' },
    write: async (path, guest) => await writeFile(path, await hole(guest, 8 * tebibyte)),
  },
  {
    ...{
      what: 'gigabytes behind its image, by zstd',
      guest: 'bomb',
      extension: 'tar.zst',
      code: 'SnapshotDamaged',
    },
    write: async (path, guest) => await writeFile(path, await bomb(guest, (bytes) => zstdOf(bytes), 256)),
  },
  {
    ...{
      what: 'gigabytes behind its image, by gzip',
      guest: 'gzip',
      extension: 'tar.gz',
      code: 'SnapshotDamaged',
    },
    write: async (path, guest) => await writeFile(path, await bomb(guest, (bytes) => gzipSync(bytes), 64)),
  },
  {
    ...{
      what: 'a tebibyte of nothing behind its image',
      guest: 'tail',
      extension: 'tar.zst',
      code: 'SnapshotDamaged',
    },
    async write(path, guest) {
      const bytes = await bomb(guest, (bytes) => zstdOf(bytes), 0);
      await writeFile(path, bytes);
      await writeNothings(path, bytes.length, tebibyte);
    },
  },
  {
    ...{ what: '8 TiB of nothing before its manifest', guest: 'head', extension: 'tar.zst' },
    ...{ code: 'TooLarge', isDamaged: true },
    write: async (path) => await writeNothings(path, 0, 8 * tebibyte),
  },
];

describe.each(forged)('an archive of $what', ({ guest, extension, write, code, isDamaged }) => {
  const name = `${guest}@${time}`;
  const path = () => join(archives(), guest, `${time}.${extension}`);
  beforeAll(async () => {
    await mkdir(dirname(path()), { recursive: true });
    await write(path(), guest);
    expect((await stat(path())).blocks * 512).toBeLessThan(32 * 2 ** 20);
  });

  test('is not imported and not verified, and leaves nothing', async () => {
    const imported = await scene.run('import', path(), '--json');
    expect(imported).toMatchObject({ exitCode: 1 });
    expect(imported.stdout + imported.stderr).toContain(
      code === 'TooLarge' ? 'largestSnapshot' : 'its manifest speaks of',
    );
    const inStore = isDamaged ? 'SnapshotDamaged' : code;
    const verified = await scene.run('verify', name, '--json');
    expect(verified).toMatchObject({
      exitCode: 1,
      json: expect.arrayContaining([
        expect.objectContaining({ error: expect.objectContaining({ code: inStore }) }),
      ]),
    });
    await expectNothingKept();
  });
});

test('an archive that claims 8 TiB is not looked into or restored either', async () => {
  const name = `wide@${time}`;
  expect((await scene.run('files', name, '--json')).json).toMatchObject([{ code: 'TooLarge' }]);
  const to = scene.path('to');
  await mkdir(to);
  expect((await scene.run('restore', name, '--to', to, '--json')).exitCode).toBe(1);
  expect(await readdir(to)).toEqual([]);
  await expectNothingKept();
});

test('a snapshot in a directory that claims 8 TiB is not read either', async () => {
  const directory = join(scene.store, 'share', time);
  await mkdir(directory, { recursive: true });
  await writeFile(
    join(directory, 'manifest.json'),
    formatManifest(manifestOf('share', 8 * tebibyte, Buffer.alloc(0))),
  );
  await writeFile(join(directory, 'ubd0.img'), '');
  await truncate(join(directory, 'ubd0.img'), 8 * tebibyte);
  const verified = await scene.run('verify', `share@${time}`);
  expect(verified).toMatchObject({ exitCode: 1 });
  expect(verified.stderr).toContain(
    '8.000 TiB together, holes included, and the config allows 4.000 TiB (largestSnapshot)',
  );
  expect((await scene.run('list')).stdout).toContain(`share@${time}`);
});

test('an import that hashes terabytes of holes, since the config allows them, ends when it is told to', async () => {
  await withScene({ guest: null, config: { largestSnapshot: '16TiB' } }, async (allowing) => {
    const path = allowing.path('wide.tar');
    await writeFile(path, await hole('wide', 8 * tebibyte));
    const importing = allowing.start(['import', path]);
    await waitFor('the import to write', async () => (await allowing.incomings()).length > 0);
    importing.kill('SIGINT');
    expect((await importing.exited).exitCode).toBe(130);
    expect(await allowing.incomings()).toEqual([]);
    expect(await allowing.listed()).toEqual([]);
  });
});

test('a guest whose disks are larger than what could be restored is refused, untouched, by the name of the setting', () =>
  withScene({ fake: {} }, async (scene) => {
    await truncate(scene.path('disk.img'), 5 * tebibyte);
    const { error } = expectFailed(await scene.snapshot(), 'TooLarge');
    expect(error?.message).toContain('The disks of guest debian have 5.000 TiB');
    expect(error?.message).toContain('largestSnapshot');
    expect(scene.fake.received().map(({ command }) => command)).not.toContain('stop');
    expect(await scene.incomings()).toEqual([]);
  }));
