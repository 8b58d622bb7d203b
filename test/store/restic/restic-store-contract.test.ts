import { join } from 'node:path';
import { storeContract } from '../../contracts/store-contract.js';
import { makeTempDir, removeTempDir } from '../../support/temp-dir.js';
import { configIn, makeKeyCheap, startServer, storeOf } from './restic-places.js';

// In a directory, the other tests work.
storeContract('restic over the network', async () => {
  const dir = await makeTempDir();
  const server = await startServer(join(dir, 'served'));
  const config = await configIn(dir, server.repository);
  const remove = async () => {
    await server.end();
    await removeTempDir(dir);
  };
  const prepared = () => makeKeyCheap(join(dir, 'served'));
  return { store: storeOf(config), again: () => storeOf(config), prepared, remove };
});
