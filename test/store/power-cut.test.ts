import { createHash } from 'node:crypto';
import { DirectoryStore } from '../../src/store/directory-store.js';
import type { SoundSnapshot } from '../../src/store/stored-snapshots.js';
import { bytesOf } from './capture-of-tests.js';
import { powerCutTests } from './cut-while-at-work.js';

/** By clones of the store's filesystem while a process seals, pins and prunes in it. */

powerCutTests('a store', {
  script: new URL('./power-cut-child.ts', import.meta.url),
  stepMs: 3,
  cuts: 60,
  open: (path) => new DirectoryStore({ name: 'local', path }),
  isWhole,
  clearIncoming: async (store) => {
    const incomings = await store.incomings();
    for (const incoming of incomings) await store.discard(incoming);
    await store.sweepBackings({ dryRun: false, without: new Set() });
    return incomings.length;
  },
});

async function isWhole(store: DirectoryStore, stored: SoundSnapshot): Promise<boolean> {
  for (const disk of stored.manifest.disks) {
    const files = [{ sha256: disk.sha256, file: await store.openFile(stored, disk.file) }];
    if (disk.backing) {
      files.push({ sha256: disk.backing.sha256, file: await store.openBacking(stored, disk.backing.file) });
    }
    for (const { sha256, file } of files) {
      const content = await bytesOf(file);
      if (createHash('sha256').update(content).digest('hex') !== sha256) return false;
    }
  }
  return true;
}
