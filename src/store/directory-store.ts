import { randomBytes } from 'node:crypto';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { defaultLargestSnapshotBytes } from '../config/store-config.js';
import { replaceFile } from '../image/durable-file.js';
import type { ImageContent } from '../image/image-content.js';
import type { ImageWorkOptions } from '../image/image-work.js';
import { contentOfFile } from '../image/read-content.js';
import { type BackingSource, type StoredBacking, storeBackingFile } from './backing-files.js';
import { whileHeld } from './hold.js';
import { discardIncoming, findIncomings, type Incoming, makeIncoming } from './incoming.js';
import { isManifestLeftover, manifestName, type StorePlace } from './layout.js';
import { type Manifest, amended, formatManifest, sizesOf } from './manifest.js';
import { type ArrivingFile, healSnapshot, receiveFiles, receiveSnapshot } from './receive.js';
import { type SealDraft, sealSnapshot } from './seal.js';
import type { Amendment, HealOptions, SnapshotContent, Store } from './store.js';
import { type FreeRoom, freeRoom, onStore } from './store-failure.js';
import { mountedStore, prepareStore, proveWritable } from './store-marker.js';
import {
  findSnapshot,
  listSnapshots,
  openBackingFile,
  openStoredFile,
  requireSound,
  requireStill,
  type StoredSnapshot,
} from './stored-snapshots.js';
import { deleteTrash, type Trashed, trashSnapshot } from './trash.js';
import { type BackingSweep, type BackingSweepOptions, sweepBackings } from './unneeded-backings.js';

/**
 * Snapshots as directories of plain files, usable with `cp` and `tar` alone. The store is the truth, the history an index
 * of it. `layout.ts` says where everything lies.
 *
 * Every method throws StoreTooFull or StoreUnusable for what the filesystem says against it. After either, what was under
 * way is thrown away and never tried again.
 */
export class DirectoryStore implements Store {
  readonly type = 'directory';
  readonly #place: StorePlace;
  readonly largestSnapshotBytes: number;

  constructor(
    { name, path, makesParents = false }: StorePlace,
    largestSnapshotBytes = defaultLargestSnapshotBytes,
  ) {
    this.#place = { name, path, makesParents };
    this.largestSnapshotBytes = largestSnapshotBytes;
  }

  get name(): string {
    return this.#place.name;
  }

  get path(): string {
    return this.#place.path;
  }

  /**
   * MUST come before everything else: proves that the store is mounted. `expectedId` is the id that the history
   * remembers; with null an absent or empty directory becomes a store.
   * @throws StoreNotMounted, StoreUnusable
   */
  async prepare(expectedId: string | null): Promise<{ id: string; created: boolean }> {
    return prepareStore(this.#place, expectedId);
  }

  /**
   * False where no store was ever made and none is expected. As `prepare`, for reading only: makes nothing, and is content
   * with a store that is read-only.
   * @throws StoreNotMounted, StoreUnusable
   */
  async isMounted(expectedId: string | null): Promise<boolean> {
    return (await mountedStore(this.#place, expectedId)) !== undefined;
  }

  async proveWritable(): Promise<void> {
    await this.#on(0, () => proveWritable(this.#place));
  }

  async free(): Promise<FreeRoom> {
    return this.#on(0, () => freeRoom(this.#place));
  }

  /** Makes the directory that a snapshot is captured into, on the store's own filesystem and listed nowhere. */
  async begin(guest: string, job: string): Promise<Incoming> {
    return this.#on(0, () => makeIncoming(this.#place, guest, job));
  }

  /**
   * Puts a COW disk's backing file into the store, once for all snapshots of its content. Never while a guest is paused.
   * @throws SourceChanged, CaptureFailed, CaptureDamaged
   */
  async storeBacking(
    incoming: Incoming,
    backing: BackingSource,
    signal?: AbortSignal,
  ): Promise<StoredBacking> {
    return this.#on(0, () => storeBackingFile(this.#place, incoming, backing, signal));
  }

  /**
   * Makes a snapshot of what was captured: only when this has returned does it exist, and then it is durable. After an
   * error the caller discards the incoming copy.
   * @throws CaptureDamaged, SnapshotExists
   */
  async seal(incoming: Incoming, draft: SealDraft, signal?: AbortSignal): Promise<Manifest> {
    const neededBytes = draft.disks.reduce((sum, disk) => sum + disk.sizeBytes, 0);
    return this.#on(neededBytes, () => sealSnapshot(this.#place, incoming, draft, signal));
  }

  /**
   * Takes a copy of a snapshot that lies elsewhere. Its manifest stays as it is, but for what the copy takes of the room here.
   * Whoever calls holds the lock of this guest's part of the store: its incoming copies are taken for leftovers and removed.
   * @throws SnapshotExists, SnapshotDamaged (the source is)
   */
  async receive(source: SnapshotContent, options: ImageWorkOptions = {}): Promise<Manifest> {
    const { storedBytes } = sizesOf(source.manifest);
    return this.#on(storedBytes, () => receiveSnapshot(this.#place, source, options));
  }

  /** See `Store`, and `healSnapshot`. */
  async heal(found: StoredSnapshot, source: SnapshotContent, options: HealOptions = {}): Promise<Manifest> {
    const { storedBytes } = sizesOf(source.manifest);
    return this.#on(storedBytes, () => healSnapshot(this.#place, found, source, options));
  }

  /** As `receive`, for a snapshot whose files come in an order of their own, from an archive. */
  async receiveFiles(
    manifest: Manifest,
    files: AsyncIterable<ArrivingFile>,
    options: ImageWorkOptions = {},
  ): Promise<Manifest> {
    const { storedBytes } = sizesOf(manifest);
    return this.#on(storedBytes, () => receiveFiles(this.#place, manifest, files, options));
  }

  /** Throws a snapshot in the making away; nothing happens when it is gone already. */
  async discard(incoming: Incoming): Promise<void> {
    await this.#on(0, () => discardIncoming(incoming));
  }

  /** Every incoming copy in the store; only the caller can know which of them somebody is at work on. */
  async incomings(): Promise<Incoming[]> {
    return this.#on(0, () => findIncomings(this.#place));
  }

  /** Snapshots by guest, newest first, damaged ones included. */
  async list(guest?: string): Promise<StoredSnapshot[]> {
    return this.#on(0, () => listSnapshots(this.#place, guest));
  }

  /** One snapshot by its name. @throws NoSuchSnapshot */
  async read(snapshot: string): Promise<StoredSnapshot> {
    return this.#on(0, () => findSnapshot(this.#place, snapshot));
  }

  /** What its images take: backing files are shared. */
  async storedBytesOf(manifest: Manifest): Promise<number> {
    return sizesOf(manifest).storedBytes;
  }

  /** Opens a file of a snapshot for reading; the caller closes it. @throws SnapshotDamaged */
  async openFile(stored: StoredSnapshot, file: string): Promise<ImageContent> {
    return this.#on(0, async () => contentOfFile(await openStoredFile(stored, file)));
  }

  /** Opens the backing file that a snapshot's manifest names; the caller closes it. @throws SnapshotDamaged */
  async openBacking(stored: StoredSnapshot, file: string): Promise<ImageContent> {
    return this.#on(0, async () => contentOfFile(await openBackingFile(this.#place, stored.snapshot, file)));
  }

  /**
   * First half of a removal: when this has returned, the snapshot is in no list, also after a power cut. Then comes the
   * history's row, then `emptyTrash`.
   * @throws NoSuchSnapshot, SnapshotChanged, Busy while somebody reads it, NotOurs when something else lies in its directory
   */
  async moveToTrash(found: StoredSnapshot): Promise<Trashed> {
    return this.#on(0, () => trashSnapshot(this.#place, found, (name) => findSnapshot(this.#place, name)));
  }

  /** Second half of a removal, of all that were moved to the trash. */
  async emptyTrash(): Promise<void> {
    await this.#on(0, () => deleteTrash(this.#place));
  }

  /** Removes backing files that no snapshot needs any more, through the trash; as long as that can't be told, none. */
  async sweepBackings(options: BackingSweepOptions): Promise<BackingSweep> {
    return this.#on(0, () => sweepBackings(this.#place, options));
  }

  /** Runs `use`, which reads a snapshot, while no removal can take it away. @throws NoSuchSnapshot, Busy */
  async whileReading<T>(stored: StoredSnapshot, use: () => Promise<T>): Promise<T> {
    return await whileHeld(stored, (hold) => this.#on(0, hold), use);
  }

  /** Both halves, where there is no history to write between them. @throws NoSuchSnapshot */
  async remove(snapshot: string): Promise<void> {
    await this.moveToTrash(await this.read(snapshot));
    await this.emptyTrash();
  }

  /** Rewrites the manifest, durably, and returns the new one; what a killed one has left of it goes. @throws NoSuchSnapshot, SnapshotDamaged, SnapshotChanged */
  async amend(found: StoredSnapshot, change: Amendment): Promise<Manifest> {
    const stored = await this.read(found.snapshot);
    requireStill(this.name, found, stored);
    const manifest = amended(requireSound(stored).manifest, change);
    const path = join(stored.directory, manifestName);
    for (const entry of await this.#on(0, () => readdir(stored.directory)))
      if (isManifestLeftover(entry)) await rm(join(stored.directory, entry), { force: true });
    const temporary = `${path}.${randomBytes(4).toString('hex')}`;
    await this.#on(0, () => replaceFile(path, temporary, formatManifest(manifest)));
    return manifest;
  }

  #on<T>(neededBytes: number, work: () => Promise<T>): Promise<T> {
    return onStore(this.#place, neededBytes, work);
  }
}
