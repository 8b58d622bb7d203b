import { join } from 'node:path';
import { TarStore } from '../../../src/store/tar/tar-store.js';
import { storeContract } from '../../contracts/store-contract.js';
import { makeTempDir, removeTempDir } from '../../support/temp-dir.js';

// That gzip gives back what it was given is shown by interoperability.test.ts.
for (const compression of ['zstd', 'none'] as const) {
  storeContract(`archives (${compression})`, async () => {
    const dir = await makeTempDir();
    const again = () => new TarStore({ name: 'archives', path: join(dir, 'store'), compression });
    return { store: again(), again, remove: () => removeTempDir(dir) };
  });
}
