import { rm } from 'node:fs/promises';
import { basename } from 'node:path';
import {
  type Compression,
  defaultLargestSnapshotBytes,
  type TarStoreConfig,
} from '../../config/store-config.js';
import { isError, UmlsnapError } from '../../errors.js';
import type { ImageContent } from '../../image/image-content.js';
import type { ImageWorkOptions } from '../../image/image-work.js';
import { whileHeld } from '../hold.js';
import { isGuestDirectory, type StorePlace, splitSnapshotName } from '../layout.js';
import { amended, type Manifest } from '../manifest.js';
import type { Amendment, HealOptions, SnapshotContent, Store } from '../store.js';
import { directoriesIn, type FoundIncoming } from '../incoming.js';
import { onStore } from '../store-failure.js';
import { mountedStore, prepareStore, proveWritable } from '../store-marker.js';
import { type SoundSnapshot, type StoredSnapshot, requireSound, requireStill } from '../stored-snapshots.js';
import { deleteTrash, type Trashed, trashSnapshot } from '../trash.js';
import { archiveBytes, findIncoming } from './archive-layout.js';
import { openEntry } from './open-entry.js';
import { markOwner, markPin, removeMarks } from './marks.js';
import { healArchive, receiveArchive } from './receive-archive.js';
import { findArchive, listArchives } from './stored-archives.js';

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

  /** What is being made, and what a killed one has left; only the caller can know which of it somebody is at work on. */
  async incomings(): Promise<FoundIncoming[]> {
    return this.#on(0, async () => {
      const found: FoundIncoming[] = [];
      for (const guest of await directoriesIn(this.#place.path, isGuestDirectory))
        for (const directory of await findIncoming(this.#place, guest))
          found.push({ guest, job: basename(directory), directory });
      return found;
    });
  }

  /** Nothing happens when it is gone already, or is no leftover any more. */
  async discard({ guest, directory }: FoundIncoming): Promise<void> {
    await this.#on(0, async () => {
      if ((await findIncoming(this.#place, guest)).includes(directory)) await rm(directory, { force: true });
    });
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

  /** See `Store`, and `healArchive`. */
  async heal(found: StoredSnapshot, source: SnapshotContent, options: HealOptions): Promise<Manifest> {
    const neededBytes = source.manifest.disks.reduce((sum, disk) => sum + disk.storedBytes, 0);
    return this.#on(neededBytes, () => healArchive(this.#place, found, source, options));
  }

  /** First half of a removal. @throws NoSuchSnapshot, SnapshotChanged, Busy */
  async moveToTrash(found: StoredSnapshot): Promise<Trashed> {
    return this.#on(0, async () => {
      const trashed = await trashSnapshot(this.#place, found, (name) => findArchive(this.#place, name));
      await removeMarks(this.#place, found.guest, nameOf(found));
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

  /** Durably, without writing the archive anew. @throws NoSuchSnapshot, SnapshotDamaged, SnapshotChanged */
  async amend(found: StoredSnapshot, change: Amendment): Promise<Manifest> {
    return this.#on(0, async () => {
      const stored = await findArchive(this.#place, found.snapshot);
      requireStill(this.name, found, stored);
      const { manifest, guest } = requireSound(stored);
      if ('owner' in change) await markOwner(this.#place, guest, nameOf(stored), change.owner);
      else await markPin(this.#place, guest, nameOf(stored), change.pinned);
      return amended(manifest, change);
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
