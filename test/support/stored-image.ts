import { copyFile, stat } from 'node:fs/promises';
import { compactUtc } from '../../src/clock.js';
import { openDisk } from '../../src/image/open-disk.js';
import { DirectoryStore } from '../../src/store/directory-store.js';
import type { Manifest } from '../../src/store/manifest.js';

/** Puts an image into a store as the snapshot of a guest's only disk, by the store's own ways. */
export async function storeImage(
  storePath: string,
  guest: string,
  image: string,
  at: Date,
): Promise<Manifest> {
  const store = new DirectoryStore({ name: 'local', path: storePath });
  await store.prepare(null).catch(() => store.isMounted(null));
  const job = `${compactUtc(at)}-abcdef`;
  const incoming = await store.begin(guest, job);
  await copyFile(image, incoming.pathOf('ubd0.img'));
  const { stamp, handle } = await openDisk(guest, 'ubd0', incoming.pathOf('ubd0.img'));
  await handle.close();
  const { size, mtime } = await stat(image);
  return await store.seal(incoming, {
    ...{ format: 'umlsnap/1', snapshot: `${guest}@${compactUtc(at)}`, guest, job, takenAt: at.toISOString() },
    ...{
      kernel: 'Linux',
      consistency: 'synced',
      dirtyKib: 0,
      method: 'copy',
      pausedMs: 1,
      labels: {},
      pinned: false,
    },
    disks: [
      {
        ...{ device: 'ubd0', kind: 'raw', sourcePath: image, file: 'ubd0.img', sizeBytes: size },
        ...{ mtime: mtime.toISOString(), stamp },
      },
    ],
  });
}
