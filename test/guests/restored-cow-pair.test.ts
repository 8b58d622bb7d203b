import { mkdir, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { restoreToDirectory } from '../../src/restore/restore-to-directory.js';
import { DirectoryStore } from '../../src/store/directory-store.js';
import { TarStore } from '../../src/store/tar/tar-store.js';
import { contentIn, sealSparse, soundIn } from '../store/sparse-snapshots.js';
import type { GuestDisk } from '../support/guest-disks.js';
import { bootGuest, withGuest } from '../support/real-guest.js';
import { runTool } from '../support/run-tool.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';

const signal = new AbortController().signal;
const snapshot = 'debian@20261121T031500Z';

let dir: string;
let source: DirectoryStore;
let archives: TarStore;
beforeAll(async () => {
  dir = await makeTempDir();
  source = new DirectoryStore({ name: 'source', path: join(dir, 'source') });
  archives = new TarStore({ name: 'archives', path: join(dir, 'archives'), compression: 'zstd' });
  await storePair();
});
afterAll(() => removeTempDir(dir));

/** A COW guest that wrote something and was halted; its pair in both stores, its own files gone from where they were. */
async function storePair(): Promise<void> {
  const guest = await bootGuest({ dir, cow: true, sizeMiB: 48, writer: 'none' });
  await guest.sh('echo "written before" > /data/proof; sync');
  await guest.halt();
  const [disk] = guest.disks;
  const [path, backing] = [disk?.path ?? '', disk?.backing ?? ''];
  await source.prepare(null);
  const { size } = await stat(path);
  await sealSparse(source, snapshot, { ubd0: { sizeBytes: size, pieces: [], from: path, backing } });
  await archives.prepare(null);
  await archives.receive(await contentIn(source, snapshot), {});
  // UML would go back to where the header says that it lies.
  await rm(backing);
}

async function restored(store: DirectoryStore | TarStore, to: string): Promise<GuestDisk> {
  const [disk] = await restoreToDirectory(await contentIn(store, snapshot), join(dir, to), { signal });
  return { device: 'ubd0', path: disk?.path ?? '', backing: disk?.backing?.path ?? '' };
}

async function expectBoots(disk: GuestDisk): Promise<void> {
  await withGuest({ dir, existingDisks: [disk], writer: 'none' }, async (guest) => {
    expect(await guest.sh('cat /data/proof')).toBe('written before');
  });
}

describe('a COW pair is accepted by UML with all that was written', () => {
  test('restored elsewhere, by virtue of the mtime that the restore kept', async () => {
    const disk = await restored(source, 'one');
    await expectBoots(disk);
    await utimes(disk.backing ?? '', 1_000_000, 1_000_000);
    const refused = withGuest({ dir, existingDisks: [disk], bootLimitMs: 20_000 }, async () => {});
    await expect(refused).rejects.toThrow(/did not boot/);
  });

  test('restored out of an archive', async () => {
    await expectBoots(await restored(archives, 'two'));
  });

  test('also when nothing but tar was there to unpack the archive: the mtime of the backing file is in it', async () => {
    const { directory, manifest } = await soundIn(archives, snapshot);
    const to = join(dir, 'tars');
    await mkdir(to);
    await runTool('tar', ['-xSf', directory, '-C', to]);
    const backing = join(to, 'backing', manifest.disks[0]?.backing?.file ?? '');
    await expectBoots({ device: 'ubd0', path: join(to, 'ubd0.cow'), backing });
  });
});
