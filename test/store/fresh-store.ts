import { join } from 'node:path';
import { afterEach, beforeEach } from 'vitest';
import { DirectoryStore } from '../../src/store/directory-store.js';
import { makeTempDir, removeTempDir, roomInMemory } from '../support/temp-dir.js';

/** Is there before each test of a file, empty, in a directory of its own: in memory, since seals sync much. */
export function freshStore() {
  const fresh = { dir: '', store: storeAt('') };
  beforeEach(async () => {
    fresh.dir = await makeTempDir(await roomInMemory());
    fresh.store = storeAt(join(fresh.dir, 'store'));
    await fresh.store.prepare(null);
  });
  afterEach(() => removeTempDir(fresh.dir));
  return fresh;
}

export const storeAt = (path: string, name = 'local') => new DirectoryStore({ name, path });
