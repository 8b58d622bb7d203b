import { mkdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { restoreToDirectory } from '../../src/restore/restore-to-directory.js';
import { DirectoryStore } from '../../src/store/directory-store.js';
import { TarStore } from '../../src/store/tar/tar-store.js';
import { contentIn, sealSparse, soundIn } from '../store/sparse-snapshots.js';
import { bootGuest, withGuest } from '../support/real-guest.js';
import { runTool } from '../support/run-tool.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';

const signal = new AbortController().signal;
const snapshot = 'debian@20261121T031500Z';

let dir: string;
let archives: TarStore;
beforeAll(async () => {
  dir = await makeTempDir();
  archives = await archivedPair();
});
afterAll(() => removeTempDir(dir));

/** A COW guest that wrote something and was halted; its pair in an archive, and nowhere else. */
async function archivedPair(): Promise<TarStore> {
  const guest = await bootGuest({ dir, cow: true, writer: 'none' });
  await guest.sh('echo "written before" > /data/proof; sync');
  await guest.halt();
  const [disk] = guest.disks;
  const [path, backing] = [disk?.path ?? '', disk?.backing ?? ''];
  const source = new DirectoryStore({ name: 'source', path: join(dir, 'source') });
  await source.prepare(null);
  const { size } = await stat(path);
  await sealSparse(source, snapshot, { ubd0: { sizeBytes: size, pieces: [], from: path, backing } });
  const store = new TarStore({ name: 'archives', path: join(dir, 'archives'), compression: 'zstd' });
  await store.prepare(null);
  await store.receive(await contentIn(source, snapshot), {});
  await rm(source.path, { recursive: true });
  // UML would go back to where the header says that it lies.
  await rm(backing);
  return store;
}

async function expectBoots(path: string, backing: string): Promise<void> {
  const existingDisks = [{ device: 'ubd0', path, backing }];
  await withGuest({ dir, existingDisks, writer: 'none' }, async (guest) => {
    expect(await guest.sh('cat /data/proof')).toBe('written before');
  });
}

describe('a COW pair out of an archive', () => {
  test('is accepted by UML with all that was written, restored by us', async () => {
    const [restored] = await restoreToDirectory(await contentIn(archives, snapshot), join(dir, 'ours'), {
      signal,
    });
    await expectBoots(restored?.path ?? '', restored?.backing?.path ?? '');
  });

  test('is accepted by UML as well when nothing but tar was there to unpack it: the mtime of the backing file is in the archive', async () => {
    const { directory, manifest } = await soundIn(archives, snapshot);
    const to = join(dir, 'tars');
    await mkdir(to);
    await runTool('tar', ['-xSf', directory, '-C', to]);
    await expectBoots(join(to, 'ubd0.cow'), join(to, 'backing', manifest.disks[0]?.backing?.file ?? ''));
  });
});
