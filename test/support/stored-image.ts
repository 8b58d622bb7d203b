import { compactUtc } from '../../src/clock.js';
import { DirectoryStore } from '../../src/store/directory-store.js';
import type { Manifest } from '../../src/store/manifest.js';
import { sealSparse } from '../store/sparse-snapshots.js';

/** Puts an image into a store as the snapshot of a guest's only disk, by the store's own ways. */
export async function storeImage(path: string, guest: string, from: string, at: Date): Promise<Manifest> {
  const store = new DirectoryStore({ name: 'local', path });
  await store.prepare(null).catch(() => store.isMounted(null));
  return (await sealSparse(store, `${guest}@${compactUtc(at)}`, { ubd0: { from } })).manifest;
}
