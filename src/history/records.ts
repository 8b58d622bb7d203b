/** The shapes of what the history keeps. Times are ISO 8601 strings in UTC, with milliseconds. */

/** A backup that is tried and leaves nothing is a `dry-run`: it says nothing of how the guest's backups go. */
export type JobKind =
  | 'backup'
  | 'dry-run'
  | 'verify'
  | 'drill'
  | 'prune'
  | 'remove'
  | 'recover'
  | 'restore'
  | 'import'
  | 'adopt'
  | 'doctor';
export type JobStatus = 'running' | 'success' | 'warning' | 'failed' | 'skipped' | 'interrupted';
/** `request`: asked of a daemon. `sweep`: a daemon looked for expired snapshots by itself. */
export type Trigger = 'manual' | 'schedule' | 'catchUp' | 'request' | 'sweep';
export type Consistency = 'frozen' | 'synced' | 'crash';

export interface JobStart {
  /** `20261121T031500Z-7f3a`, unique. */
  job: string;
  kind: JobKind;
  guest: string | null;
  trigger: Trigger;
  startedAt: string;
  /** Process that works on the job, with its start time in clock ticks since boot, and this boot's id: says whether it still lives. */
  pid: number;
  pidStartTicks: number;
  bootId: string;
}

/** The phase of a job that ended with its process, which can't tell any more. */
export const unknownPhase = 'unknown';

export interface JobFailure {
  /** Or `unknownPhase`. */
  phase: string;
  code: string;
  message: string;
}

/** `GuestGone in capture`. */
export function whatFailedWhere({ code, phase }: Pick<JobFailure, 'code' | 'phase'>): string {
  return phase === unknownPhase ? code : `${code} in ${phase}`;
}

export interface JobEnd {
  status: Exclude<JobStatus, 'running'>;
  finishedAt: string;
  error: JobFailure | null;
  warnings: string[];
  /** The job's summary as `--json` prints it. */
  summary: Record<string, unknown>;
}

export interface JobRecord extends JobStart {
  status: JobStatus;
  finishedAt: string | null;
  error: JobFailure | null;
  warnings: string[];
  summary: Record<string, unknown> | null;
}

export interface PhaseRecord {
  phase: string;
  startedAt: string;
  durationMs: number;
  outcome: 'done' | 'failed' | 'undone';
  facts: Record<string, unknown>;
}

/** What a person wants to read of a job afterwards. */
export interface JobLogLine {
  at: string;
  level: 'info' | 'warn' | 'error';
  /** One line, printable. */
  text: string;
}

export interface PauseIntent {
  /** Unique: job and number of the try, `20261121T031500Z-7f3a.1`. */
  pause: string;
  job: string;
  guest: string;
  budgetMs: number;
  intendedAt: string;
}

export type PauseEndedBy =
  | 'request'
  | 'deadline'
  | 'guardian'
  | 'recover'
  | 'others'
  | 'notStopped'
  | 'guestGone';

export interface PauseEnd {
  /** null: nobody who measured it is left. */
  pausedMs: number | null;
  endedBy: PauseEndedBy;
  endedAt: string;
}

export interface PauseRecord extends PauseIntent {
  pausedMs: number | null;
  endedBy: PauseEndedBy | null;
  endedAt: string | null;
}

/** What a guest says by itself on its notify socket. */
export type GuestEventType = 'booted' | 'panic' | 'hang' | 'message';

export interface GuestEvent {
  at: string;
  guest: string;
  type: GuestEventType;
  /** In the guest's words, printable: where its console is, why it panics, what was written to its /proc/mconsole. */
  text: string;
  /** So many of its type came right before it, too fast to be kept. */
  missed: number;
}

export interface GuestEventRecord extends GuestEvent {
  /** In the order in which they were recorded. */
  number: number;
}

/** The last drill of a copy of a snapshot that came to an outcome: it belongs to the copy that was booted. */
export interface DrillRecord {
  snapshot: string;
  /** Empty: an older umlsnap did not tell. */
  store: string;
  guest: string;
  job: string;
  drilledAt: string;
  passed: boolean;
  /** Why it did not pass, for people. */
  problem: string | null;
}

/** Whose a snapshot is. `unknown` is nobody's whom anybody knows: made before there were owners, and not by a job of ours. */
export type Ownership = { type: 'own' } | { type: 'other'; id: string; host: string } | { type: 'unknown' };

export interface SnapshotRecord {
  /** `debian@20261121T031500Z` */
  snapshot: string;
  store: string;
  guest: string;
  job: string | null;
  takenAt: string;
  consistency: Consistency;
  dirtyKib: number;
  method: string;
  pausedMs: number;
  sizeBytes: number;
  storedBytes: number;
  pinned: boolean;
  labels: Record<string, string>;
  /** SHA-256 of manifest.json as it lies in the store. */
  manifestSha256: string;
  own: boolean;
  /** As its manifest has it; null in the first format, of our own too. */
  owner: { id: string; host: string } | null;
}

/** What the history knows of whose a snapshot is. */
export function ownershipRecorded({ own, owner }: Pick<SnapshotRecord, 'own' | 'owner'>): Ownership {
  if (own) return { type: 'own' };
  return owner === null ? { type: 'unknown' } : { type: 'other', ...owner };
}

/** What a sweep of a guest's snapshots in a store leaves for the next one. */
export interface SweepRecord {
  store: string;
  guest: string;
  /** By the wall clock. */
  sweptAt: string;
  /** When the newest snapshot that counted was taken. */
  newestTakenAt: string | null;
  /** Snapshots up to here lie in the future because a clock was wrong once. */
  aheadUntil: string | null;
  /** Milliseconds since the boot of this id: a clock that nobody sets. */
  bootId: string;
  uptimeMs: number;
}

/**
 * What a verification came to. `ok`: every byte is as it was captured, and no filesystem was found to be bad; `damaged`: a byte
 * is not; `badFilesystem`: the bytes are, and what the guest had on its disk is not sound; `notRead`: the store could not be
 * read, which says nothing of the snapshot.
 */
export type VerifyResult = 'ok' | 'damaged' | 'badFilesystem' | 'notRead';

/**
 * What was found of the filesystem in a disk. `sound`: its checker says so; `bad`: it says otherwise; `unproven`: it can't tell,
 * because only a mount could replay the log; `none`: no filesystem that we know; `notChecked`: it could not be run to its end.
 */
export type FilesystemVerdict = 'sound' | 'bad' | 'unproven' | 'none' | 'notChecked';

export interface FilesystemRecord {
  /** `ubd0`, or `ubd0 partition 2`. */
  disk: string;
  /** `ext4`, `xfs`, `btrfs`, or what else it is, for people. */
  type: string;
  verdict: FilesystemVerdict;
  /** Why, in our words; null where the verdict says all. */
  reason: string | null;
  /** The end of what the checker said, printable; null when none was run. Some of it is in the guest's words. */
  output: string | null;
}

/** The last verification of a snapshot in a store. */
export interface VerificationRecord {
  snapshot: string;
  store: string;
  job: string | null;
  verifiedAt: string;
  result: VerifyResult;
  /** What is wrong, for people; null where nothing is. */
  problem: string | null;
  /** Data that was read of the store, without holes. */
  readBytes: number;
  filesystems: FilesystemRecord[];
}

/** Which copies are asked about; without any, all. */
export interface FindingsFilter {
  guest?: string;
  store?: string;
}

/** What a snapshot has in it is what this job captured of this guest, in whichever store and under whatever name it lies. */
export interface CapturedBy {
  guest: string;
  job: string;
}

/** A filesystem that was found bad in one copy, and so is in all copies of it. */
export interface BadFilesystem extends CapturedBy {
  /** Whose copy was looked at: it may be gone. */
  store: string;
  foundAt: string;
  problem: string | null;
}

/**
 * What speaks against copies: their last verifications that found them damaged, their last drills that failed, and filesystems that are
 * bad, wherever a copy of them lies.
 */
export interface BadFindings {
  verifications: Pick<VerificationRecord, 'snapshot' | 'store' | 'verifiedAt' | 'result' | 'problem'>[];
  drills: Pick<DrillRecord, 'snapshot' | 'store' | 'drilledAt' | 'passed' | 'problem'>[];
  filesystems: BadFilesystem[];
  /** Ours that are there, and that one of these speaks against. */
  copies: Pick<SnapshotRecord, 'snapshot' | 'store' | 'job'>[];
}
