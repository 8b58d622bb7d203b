import type { EventLedger } from '../guest/event-recorder.js';
import type { GuestEvent, PhaseRecord, SnapshotRecord, VerificationRecord } from '../history/records.js';
import type { PauseLedger } from '../pause/guarded-pause.js';
import type { BackingSource, StoredBacking } from '../store/backing-files.js';
import type { Incoming } from '../store/incoming.js';
import type { Manifest } from '../store/manifest.js';
import type { SealDraft } from '../store/seal.js';
import type { FindingsLedger } from '../store/soundness.js';
import type { Amendment } from '../store/store.js';
import type { StoredSnapshot } from '../store/stored-snapshots.js';
import type { BackingSweep, BackingSweepOptions } from '../store/unneeded-backings.js';
import type { OwnershipHistory } from './ownership.js';
import type { SweepLedger } from './sweep-memory.js';

/** What the sequence needs of a store. `compose.ts` knows which class stands behind it. */
export interface SnapshotStore {
  readonly name: string;
  readonly path: string;
  readonly largestSnapshotBytes: number;
  prepare(expectedId: string | null): Promise<{ id: string; created: boolean }>;
  free(): Promise<{ bytes: number; inodes: number }>;
  begin(guest: string, job: string): Promise<Incoming>;
  storeBacking(incoming: Incoming, backing: BackingSource, signal?: AbortSignal): Promise<StoredBacking>;
  seal(incoming: Incoming, draft: SealDraft, signal?: AbortSignal): Promise<Manifest>;
  /** Every incoming copy that was not sealed or discarded, of any job. */
  incomings(): Promise<Incoming[]>;
  discard(incoming: Incoming): Promise<void>;
  list(guest: string): Promise<StoredSnapshot[]>;
  storedBytesOf(manifest: Manifest): Promise<number | null>;
  amend(found: StoredSnapshot, change: Amendment): Promise<Manifest>;
  moveToTrash(found: StoredSnapshot): Promise<unknown>;
  emptyTrash(): Promise<void>;
  /** Only of a store that keeps backing files apart from snapshots. */
  sweepBackings?(options: BackingSweepOptions): Promise<BackingSweep>;
}

/** Told what a person wants to read of the job afterwards; it MUST NOT be written while the guest is paused. */
export interface SnapshotLog {
  info(text: string): void;
  warn(text: string): void;
  guestSaid(event: GuestEvent): void;
}

/** What the sequence writes down. */
export interface SnapshotHistory
  extends PauseLedger,
    EventLedger,
    SweepLedger,
    FindingsLedger,
    OwnershipHistory {
  forgetFindings(store: string, snapshot: string): Promise<void>;
  recordVerification(verification: VerificationRecord): Promise<void>;
  recordPhase(job: string, phase: PhaseRecord): Promise<void>;
  recordSnapshot(snapshot: SnapshotRecord): Promise<void>;
  forgetSnapshot(
    store: string,
    snapshot: string,
    removal: { removedAt: string; reason: string },
  ): Promise<void>;
  storeId(store: string): Promise<string | null>;
  rememberStore(store: string, id: string): Promise<void>;
}
