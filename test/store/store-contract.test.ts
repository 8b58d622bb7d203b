import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { TarStore } from '../../src/store/tar/tar-store.js';
import { storeContract } from '../contracts/store-contract.js';
import { mountLoopFilesystem, whyNoLoopMount } from '../support/loop-filesystem.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { flipByte } from './capture-of-tests.js';
import { storeAt } from './fresh-store.js';
import { configIn, makeKeyCheap, startServer, storeOf } from './restic/restic-places.js';

for (const type of ['xfs', 'ext4'] as const) {
  const noLoop = whyNoLoopMount(type);
  if (noLoop !== undefined) console.warn(`SKIPPED: a directory store on ${type}: ${noLoop}`);
  // Elsewhere it lies where temporary files do.
  storeContract(noLoop ? `a directory, for want of ${type},` : `a directory on ${type}`, async () => {
    const mounted = noLoop ? undefined : await mountLoopFilesystem({ type, sizeMiB: 400 });
    const dir = mounted?.mountPoint ?? (await makeTempDir());
    const again = () => storeAt(join(dir, 'store'));
    const damage = async (snapshot: string) => {
      const at = join(dir, 'store', ...snapshot.split('@'));
      await flipByte(join(at, 'ubd0.cow'), 0.3);
      const backings = (await readdir(join(dir, 'store', '.backing'))).filter((name) =>
        name.endsWith('.img'),
      );
      for (const name of backings) await flipByte(join(dir, 'store', '.backing', name), 0.2);
    };
    return { again, damage, remove: mounted?.remove ?? (() => removeTempDir(dir)) };
  });
}

// That gzip gives back what it was given is shown by interoperability.test.ts.
for (const compression of ['zstd', 'none'] as const) {
  storeContract(`archives (${compression})`, async () => {
    const dir = await makeTempDir();
    const again = () => new TarStore({ name: 'archives', path: join(dir, 'store'), compression });
    const damage = async (snapshot: string) => {
      const stored = await again().read(snapshot);
      await flipByte(stored.directory, 0.7);
    };
    return { again, damage, remove: () => removeTempDir(dir) };
  });
}

// In a directory, the other tests of restic work.
storeContract('restic over the network', async () => {
  const dir = await makeTempDir();
  const server = await startServer(join(dir, 'served'));
  const config = await configIn(dir, server.repository);
  const remove = () => server.end().then(() => removeTempDir(dir));
  const damage = () => loseLargestPack(join(dir, 'served'));
  return { again: () => storeOf(config), prepared: () => makeKeyCheap(join(dir, 'served')), damage, remove };
});

/** The largest holds nothing but data: restic keeps its lists of files in packs of their own. */
async function loseLargestPack(served: string): Promise<void> {
  const names = (await readdir(served, { recursive: true })).filter((name) =>
    /data\/..\/[0-9a-f]{64}$/.test(name),
  );
  const sized = await Promise.all(
    names.map(async (name) => ({ name, sizeBytes: (await stat(join(served, name))).size })),
  );
  const [largest] = sized.sort((a, b) => b.sizeBytes - a.sizeBytes);
  await rm(join(served, largest?.name ?? ''));
}
