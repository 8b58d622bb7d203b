import { powerCutTests } from './cut-while-at-work.js';
import { storeAt } from './fresh-store.js';

/** By clones of the store's filesystem while a process seals, pins and prunes in it. */

powerCutTests({
  kind: 'directories',
  stepMs: 3,
  open: storeAt,
  clearUp: async (path) => {
    const store = storeAt(path);
    for (const incoming of await store.incomings()) await store.discard(incoming);
    await store.sweepBackings({ dryRun: false, without: new Set() });
  },
});
