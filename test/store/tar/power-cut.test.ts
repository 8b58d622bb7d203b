import { createHash } from 'node:crypto';
import { findIncoming } from '../../../src/store/tar/archive-layout.js';
import { TarStore } from '../../../src/store/tar/tar-store.js';
import { bytesOf } from '../capture-of-tests.js';
import { powerCutTests } from '../cut-while-at-work.js';

/** By clones of the store's filesystem while a process receives, pins and removes archives in it. */

powerCutTests('archives', {
  script: new URL('./power-cut-child.ts', import.meta.url),
  stepMs: 12,
  cuts: 30,
  open: (path) => new TarStore({ name: 'archives', path, compression: 'none' }),
  isWhole: async (store, stored) => {
    for (const { file, sizeBytes, sha256 } of stored.manifest.disks) {
      const bytes = await bytesOf(await store.openFile(stored, file));
      const hash = createHash('sha256')
        .update(bytes)
        .update(Buffer.alloc(sizeBytes - bytes.length));
      if (hash.digest('hex') !== sha256) return false;
    }
    return true;
  },
  // The next one that the store receives does it.
  clearIncoming: async (store) => (await findIncoming(store, 'debian')).length,
});
