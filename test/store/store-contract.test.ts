import { join } from 'node:path';
import { TarStore } from '../../src/store/tar/tar-store.js';
import { storeContract } from '../contracts/store-contract.js';
import { mountLoopFilesystem, whyNoLoopMount } from '../support/loop-filesystem.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
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
    return { again, remove: mounted?.remove ?? (() => removeTempDir(dir)) };
  });
}

// That gzip gives back what it was given is shown by interoperability.test.ts.
for (const compression of ['zstd', 'none'] as const) {
  storeContract(`archives (${compression})`, async () => {
    const dir = await makeTempDir();
    const again = () => new TarStore({ name: 'archives', path: join(dir, 'store'), compression });
    return { again, remove: () => removeTempDir(dir) };
  });
}

// In a directory, the other tests of restic work.
storeContract('restic over the network', async () => {
  const dir = await makeTempDir();
  const server = await startServer(join(dir, 'served'));
  const config = await configIn(dir, server.repository);
  const remove = () => server.end().then(() => removeTempDir(dir));
  return { again: () => storeOf(config), prepared: () => makeKeyCheap(join(dir, 'served')), remove };
});
