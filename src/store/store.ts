import type { ImageContent } from '../image/image-content.js';
import type { ImageWorkOptions } from '../image/image-work.js';
import type { Manifest, Owner } from './manifest.js';
import type { SoundSnapshot, StoredSnapshot } from './stored-snapshots.js';

/** A snapshot to be read: what a restore, a verification and another store begin from. */
export interface SnapshotContent {
  manifest: Manifest;
  /** A file of the snapshot, by the name in its manifest. */
  openFile(file: string): Promise<ImageContent>;
  /** A backing file, by the name in the manifest. */
  openBacking(file: string): Promise<ImageContent>;
}

/** What can be changed of a snapshot that is sealed. */
export type Amendment = { pinned: boolean } | { owner: Owner };

export interface HealOptions extends ImageWorkOptions {
  /**
   * Told once the copy is whole and proven, and the damaged one is still the one that is listed: what the history is to know it by. An
   * error of it ends the healing, with nothing changed.
   */
  onWhole?: (manifest: Manifest) => Promise<void>;
}

/**
 * What every kind of store can do: it holds whole snapshots, by the manifests that they were sealed with. Only a directory
 * store is captured into (`SnapshotStore` of the sequence); the others are filled from it, after the guest runs again.
 *
 * Every method throws StoreTooFull, StoreUnusable or StoreNotMounted for what speaks against the store.
 */
export interface Store {
  readonly name: string;
  readonly type: 'directory' | 'tar' | 'restic';
  /** For people, and for locks: a directory, or restic's repository. */
  readonly path: string;
  /** Of what says that it is larger, nothing is read: see `requireBelievable`. */
  readonly largestSnapshotBytes: number;
  /** As `DirectoryStore.prepare`: proves that the store is there, and the one that the history remembers. */
  prepare(expectedId: string | null): Promise<{ id: string; created: boolean }>;
  /**
   * Writes a little there that is gone again at once: what a look at rights and room can't tell.
   * @throws StoreUnusable, StoreTooFull
   */
  proveWritable(): Promise<void>;
  /** False where no store was ever made and none is expected. Makes nothing. */
  isMounted(expectedId: string | null): Promise<boolean>;
  /** By guest, newest first, damaged ones included. */
  list(guest?: string): Promise<StoredSnapshot[]>;
  /**
   * @param isOwn chooses where a store of restic has two of one name, each of another owner
   * @throws NoSuchSnapshot
   */
  read(snapshot: string, isOwn?: (stored: StoredSnapshot) => boolean): Promise<StoredSnapshot>;
  /** What a snapshot takes here; null where nothing true can be said of one alone, because it shares with others. @throws NoSuchSnapshot */
  storedBytesOf(manifest: Manifest): Promise<number | null>;
  /** @throws SnapshotDamaged */
  openFile(stored: SoundSnapshot, file: string): Promise<ImageContent>;
  /** @throws SnapshotDamaged */
  openBacking(stored: SoundSnapshot, file: string): Promise<ImageContent>;
  /**
   * Takes a copy of a snapshot, byte for byte and as sparse, checked against its manifest while it is read. It is in no list
   * before it is whole and durable. What a killed one left is removed by the next.
   * @throws SnapshotExists, SnapshotDamaged (the source is)
   */
  receive(source: SnapshotContent, options: ImageWorkOptions): Promise<Manifest>;
  /**
   * Puts a copy of a snapshot that lies elsewhere in the place of a damaged one, which goes to the trash. It is proven before: read
   * back against its manifest. Killed at any instant, the damaged one is listed or the healed one, never none and never both;
   * but for directories on a filesystem without an exchange of names (`replaceInSteps`). Its pin and its owner stay.
   * @param found the damaged one, which MUST be found so once more
   * @throws NoSuchSnapshot, SnapshotChanged, SnapshotDamaged (the source is), Busy
   */
  heal(found: StoredSnapshot, source: SnapshotContent, options: HealOptions): Promise<Manifest>;
  /**
   * First half of a removal: in no list any more, durably. The store itself MUST find the snapshot as it was found, of the same owner
   * and job, right before it goes: whoever removes has the lock of this guest's part, and proved by what was found that it is his.
   * @throws NoSuchSnapshot, SnapshotChanged (it is another's by now; nothing was removed)
   */
  moveToTrash(found: StoredSnapshot): Promise<unknown>;
  /** Second half of a removal, of all that were moved to the trash. */
  emptyTrash(): Promise<void>;
  /**
   * Changes what is said of a snapshot, durably; the manifest that it returns is the one that is listed.
   * @throws NoSuchSnapshot, SnapshotDamaged, SnapshotChanged
   */
  amend(found: StoredSnapshot, change: Amendment): Promise<Manifest>;
}
