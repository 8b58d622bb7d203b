import {
  type Compression,
  defaultLargestSnapshotBytes,
  type TarStoreConfig,
} from '../../config/store-config.js';
import { isError, UmlsnapError } from '../../errors.js';
import type { ImageContent } from '../../image/image-content.js';
import type { ImageWorkOptions } from '../../image/image-work.js';
import { whileHeld } from '../hold.js';
import { type StorePlace, splitSnapshotName } from '../layout.js';
import type { Manifest } from '../manifest.js';
import type { SnapshotContent, Store } from '../store.js';
import { onStore } from '../store-failure.js';
import { mountedStore, prepareStore, proveWritable } from '../store-marker.js';
import { isSound, type SoundSnapshot, type StoredSnapshot } from '../stored-snapshots.js';
import { deleteTrash, type Trashed, trashSnapshot } from '../trash.js';
import { archiveBytes } from './archive-layout.js';
import { openEntry } from './open-entry.js';
import { removeMarks, writeMark } from './pin-marks.js';
import { receiveArchive } from './receive-archive.js';
import { findArchive, listArchives, withPin } from './stored-archives.js';

/**
 * One archive for each snapshot, usable with `tar` alone; `archive-layout.ts` says where everything lies. A snapshot's
 * `directory` is its archive. As with a directory store, the store is the truth, and whoever writes to a guest's part of it
 * holds that part's lock.
 */
export class TarStore implements Store {
  readonly type = 'tar';
  readonly #place: StorePlace;
  readonly #compression: Compression;
  readonly largestSnapshotBytes: number;

  constructor(
    { name, path, compression }: Pick<TarStoreConfig, 'name' | 'path' | 'compression'>,
    largestSnapshotBytes = defaultLargestSnapshotBytes,
  ) {
    this.#place = { name, path };
    this.#compression = compression;
    this.largestSnapshotBytes = largestSnapshotBytes;
  }

  get name(): string {
    return this.#place.name;
  }

  get path(): string {
    return this.#place.path;
  }

  /** @throws StoreNotMounted, StoreUnusable */
  async prepare(expectedId: string | null): Promise<{ id: string; created: boolean }> {
    return prepareStore(this.#place, expectedId);
  }

  /** @throws StoreNotMounted, StoreUnusable */
  async isMounted(expectedId: string | null): Promise<boolean> {
    return (await mountedStore(this.#place, expectedId)) !== undefined;
  }

  async proveWritable(): Promise<void> {
    await this.#on(0, () => proveWritable(this.#place));
  }

  async list(guest?: string): Promise<StoredSnapshot[]> {
    return this.#on(0, () => listArchives(this.#place, guest));
  }

  /** One snapshot by its name. @throws NoSuchSnapshot */
  async read(snapshot: string): Promise<StoredSnapshot> {
    return this.#on(0, () => findArchive(this.#place, snapshot));
  }

  /** The size of its archive. @throws NoSuchSnapshot */
  async storedBytesOf({ snapshot }: Manifest): Promise<number> {
    return this.#on(0, async () => {
      const sizeBytes = await archiveBytes(this.#place, snapshot);
      if (sizeBytes === undefined) throw new UmlsnapError('NoSuchSnapshot', { snapshot });
      return sizeBytes;
    });
  }

  async openFile(stored: SoundSnapshot, file: string): Promise<ImageContent> {
    return this.#on(0, () => openEntry(stored, 'disk', file));
  }

  async openBacking(stored: SoundSnapshot, file: string): Promise<ImageContent> {
    return this.#on(0, () => openEntry(stored, 'backing', file));
  }

  async receive(source: SnapshotContent, options: ImageWorkOptions = {}): Promise<Manifest> {
    const neededBytes = source.manifest.disks.reduce((sum, disk) => sum + disk.storedBytes, 0);
    return this.#on(neededBytes, () => receiveArchive(this.#place, this.#compression, source, options));
  }

  /** First half of a removal. @throws NoSuchSnapshot */
  async moveToTrash(snapshot: string): Promise<Trashed> {
    return this.#on(0, async () => {
      const stored = await findArchive(this.#place, snapshot);
      const trashed = await trashSnapshot(this.#place, stored);
      await removeMarks(this.#place, stored.guest, nameOf(stored));
      return trashed;
    });
  }

  /** Runs `use`, which reads a snapshot, while no removal can take it away. @throws NoSuchSnapshot, Busy */
  async whileReading<T>(stored: StoredSnapshot, use: () => Promise<T>): Promise<T> {
    return await whileHeld(stored, (hold) => this.#on(0, hold), use);
  }

  async emptyTrash(): Promise<void> {
    await this.#on(0, () => deleteTrash(this.#place, 'file'));
  }

  /** Pins or unpins, durably, without writing the archive anew. @throws NoSuchSnapshot, SnapshotDamaged */
  async setPinned(snapshot: string, pinned: boolean): Promise<Manifest> {
    return this.#on(0, async () => {
      const stored = await findArchive(this.#place, snapshot);
      if (!isSound(stored)) {
        throw new UmlsnapError('SnapshotDamaged', { snapshot: stored.snapshot, problem: stored.damaged });
      }
      await writeMark(this.#place, stored.guest, nameOf(stored), pinned);
      return withPin(stored.manifest, pinned);
    });
  }

  async #on<T>(neededBytes: number, work: () => Promise<T>): Promise<T> {
    try {
      return await onStore(this.#place, neededBytes, work);
    } catch (error) {
      // Says nothing of the snapshots: it is this host that can't read them now.
      if (!isError(error, 'CommandFailed')) throw error;
      const { name: store, path } = this.#place;
      const problem = `zstd failed: ${error.facts.problem}`;
      throw new UmlsnapError('StoreUnusable', { store, path, problem }, error);
    }
  }
}

function nameOf({ snapshot }: StoredSnapshot): string {
  return splitSnapshotName(snapshot)?.directory ?? '';
}
