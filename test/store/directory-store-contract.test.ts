import { join } from 'node:path';
import { describe } from 'vitest';
import { DirectoryStore } from '../../src/store/directory-store.js';
import { type MadeStore, storeContract } from '../contracts/store-contract.js';
import { mountLoopFilesystem, whyNoLoopMount } from '../support/loop-filesystem.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';

function madeAt(path: string, remove: () => Promise<void>): MadeStore {
  const again = () => new DirectoryStore({ name: 'local', path });
  return { store: again(), again, remove };
}

for (const type of ['xfs', 'ext4'] as const) {
  const skipped = whyNoLoopMount(type);
  if (skipped !== undefined) console.warn(`SKIPPED: a directory store on ${type}: ${skipped}`);
  describe.skipIf(skipped !== undefined)(`on ${type}`, () => {
    storeContract(`a directory on ${type}`, async () => {
      const filesystem = await mountLoopFilesystem({ type, sizeMiB: 400 });
      return madeAt(join(filesystem.mountPoint, 'store'), filesystem.remove);
    });
  });
}

// Elsewhere it is one of these two.
if (whyNoLoopMount('ext4') !== undefined) {
  storeContract('a directory', async () => {
    const dir = await makeTempDir();
    return madeAt(join(dir, 'store'), () => removeTempDir(dir));
  });
}
