import { TarStore } from '../../../src/store/tar/tar-store.js';
import { powerCutTests } from '../cut-while-at-work.js';

/** By clones of the store's filesystem while a process receives, pins and removes archives in it. */

powerCutTests({
  kind: 'archives',
  stepMs: 12,
  open: (path) => new TarStore({ name: 'archives', path, compression: 'none' }),
  // The next one that the store receives does it.
  clearUp: async () => {},
});
