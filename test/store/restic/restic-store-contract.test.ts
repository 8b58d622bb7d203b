import { join } from 'node:path';
import { storeContract } from '../../contracts/store-contract.js';
import { makeTempDir, removeTempDir } from '../../support/temp-dir.js';
import { configIn, startServer, storeOf } from './restic-places.js';

// In a directory, the other tests work; each run of restic takes half a second of the processor to derive its key.
storeContract('restic over the network', async () => {
  const dir = await makeTempDir();
  const server = await startServer(join(dir, 'served'));
  const config = await configIn(dir, server.repository);
  const remove = async () => {
    await server.end();
    await removeTempDir(dir);
  };
  return { store: storeOf(config), again: () => storeOf(config), remove };
});
