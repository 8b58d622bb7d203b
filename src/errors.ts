import { withoutErrno } from './errno-messages.js';

/**
 * Every failure that umlsnap can name. An error carries facts; its prose is composed in `error-text.ts` and its
 * exit code stands in `exit-codes.ts`. Adding a code here makes the compiler ask for both.
 */

/** What we know of the guest at the moment of an error: `unknown` is never to be read as `running`. */
export type GuestState = 'running' | 'stopped' | 'gone' | 'unknown';

/** Why a guest's filesystems were not frozen, or did not stay so. */
export type NotFrozenCause =
  | 'off'
  | 'notBootedWithNotify'
  | 'notifiesElsewhere'
  | 'socketUnusable'
  | 'noAgent'
  | 'agentTooNew'
  | 'hookFailed'
  | 'hookOverran'
  | 'filesystemRefused'
  | 'tookTooLong'
  | 'noAnswer'
  | 'endedEarly';

/** Why a drill failed: each says something else about the snapshot. */
export type DrillFailure =
  /** The kernel ended, or was killed, before it said anything on its management console. */
  | 'kernelDidNotStart'
  | 'rootNotMounted'
  | 'noInit'
  | 'initDied'
  | 'panicked'
  /** It shut itself down, or its kernel ended without a word. */
  | 'ended'
  | 'consoleSilent'
  | 'initNotSeen'
  | 'notExpected'
  | 'agentSilent'
  | 'hookFailed'
  | 'wroteTooMuch'
  | 'tookTooMuchMemory'
  /** The files of the snapshot are not as they were captured: it was not booted. */
  | 'damaged'
  /** Its COW file is of no disk that UML could have: there is nothing to be booted. */
  | 'noCowPair';

export interface ConfigProblem {
  /** 1-based; 0 when the problem belongs to no line (an empty file). */
  line: number;
  column: number;
  /** Dotted path of the key, `guests.debian.disks.ubd0`. */
  path: string;
  message: string;
}

/** A copy of a snapshot that is not to be relied on: `damaged` can't be restored, the others can, by name of their store. */
export interface UnsoundCopy {
  store: string;
  type: 'damaged' | 'badFilesystem' | 'failedDrill';
  problem: string;
}

/** A snapshot that a verification of many has found to be bad. */
export interface BadSnapshot {
  snapshot: string;
  store: string;
  problem: string;
}

export interface FactsByCode {
  // usage and config
  Usage: { problem: string };
  ConfigInvalid: { file: string; problems: ConfigProblem[] };
  ConfigNotFound: { tried: string[] };
  // no such thing
  /** `lookedIn`: where else than in the config. */
  NoSuchGuest: { guest: string; known: string[]; lookedIn?: string };
  NoSuchSnapshot: {
    snapshot: string;
    /** Hosts that have snapshots of this guest where one of ours was asked for; null: nobody who is known. */
    ofOthers?: (string | null)[];
  };
  NoSuchJob: { job: string };
  NoSuchStore: { store: string; known: string[] };
  NoMconsoleSocket: { guest: string; tried: string[] };
  // mconsole
  SocketPathTooLong: { socketPath: string; lengthBytes: number; maxBytes: number };
  NotASocket: { socketPath: string; found: string };
  SocketNotAllowed: { socketPath: string; cause: string };
  SocketReplaced: { socketPath: string };
  RequestTooLarge: { lengthBytes: number; maxBytes: number };
  GuestNotAnswering: { socketPath: string; command: string; waitedMs: number };
  GuestSocketDead: { socketPath: string; command: string };
  CommandRefused: { command: string; err: number; text: string };
  ReplyMalformed: { socketPath: string; command: string; problem: string };
  // preflight
  TooLarge: { what: string; sizeBytes: number; largestBytes: number };
  GuestAlreadyStopped: { guest: string };
  GuestProcessNotFound: { guest: string; diskPath: string };
  /** And was backed up before; or has been halted in this phase of a backup, before its stop. */
  GuestHalted: { guest: string; phase?: string };
  GuestHasSeveralCpus: { guest: string; cpus: number };
  SysrqDisabled: { guest: string; setting: string };
  GuestOfSeveralUsers: { guest: string; named: string | null; parts: { what: string; uid: number }[] };
  NoSuchUser: { guest: string; user: string };
  DiskMismatch: { guest: string; device: string; configured: string; reported: string; problem: string };
  DiskUnusable: { guest: string; device: string; path: string; problem: string };
  StoreNotMounted: { store: string; path: string; problem: string };
  StoreReplaced: { store: string; path: string; problem: string };
  StoreUnusable: { store: string; path: string; problem: string };
  StoreTooFull: { store: string; path: string; neededBytes: number; freeBytes: number; freeInodes: number };
  PredictedPauseOverBudget: {
    guest: string;
    predictedMs: number;
    budgetMs: number;
    dataBytes: number;
    method: string;
  };
  CaptureImpossible: { guest: string; method: string; reason: string };
  // the pause
  StopUnanswered: { guest: string; waitedMs: number; guestState: GuestState };
  PauseBudgetExceeded: {
    guest: string;
    phase: string;
    pausedMs: number;
    budgetMs: number;
    guestResumed: boolean;
  };
  GuestNotStopped: { guest: string; pid: number; socketPath: string; phase: string };
  ResumedByOthers: { guest: string; phase: string };
  GuestGone: { guest: string; phase: string; leftoverPids: number[] };
  GuestPanicked: { guest: string; phase: string; text: string };
  GuestRebooted: { guest: string; phase: string };
  GuardianFailed: { guest: string; problem: string; guestState: GuestState };
  GuestMayBePaused: { guest: string; guardianPid: number | null; problem: string };
  NotFrozen: { guest: string; cause: NotFrozenCause; detail: string };
  NotifyUnusable: { socketPath: string; problem: string };
  ThawHookFailed: { guest: string; problem: string };
  GuestMayBeFrozen: { guest: string; problem: string; endsByItselfAt: string };
  IoNotDrained: { guest: string; waitedMs: number };
  // capture and seal
  SourceChanged: { guest: string; device: string; problem: string };
  CaptureFailed: { guest: string; device: string; problem: string };
  TrackingLost: { guest: string; problem: string };
  CaptureDamaged: { guest: string; device: string; problem: string };
  ConsistencyTooWeak: {
    guest: string;
    required: string;
    reached: string;
    dirtyKib: number;
    /** Devices that were written from its sync to the stop. */
    written: string[];
    tries: number;
    /** It had one when the job began. */
    hasAgent: boolean;
  };
  SnapshotExists: { store: string; snapshot: string };
  SnapshotChanged: { store: string; snapshot: string };
  SnapshotOfOther: { snapshot: string; store: string; owner: { id: string; host: string } | null };
  NothingToAdopt: { of: string; known: string[] };
  HostAmbiguous: { host: string; ids: string[] };
  // restore
  TargetInUse: { path: string; pid: number | null };
  TargetExists: { path: string };
  NotOurs: { path: string };
  SnapshotDamaged: {
    snapshot: string;
    problem: string;
    /** The store with this copy, where others were looked for. */
    store?: string;
    /** Stores that have a sound copy. */
    soundIn?: string[];
    /** Every copy that there is, none of which is sound. */
    copies?: UnsoundCopy[];
  };
  NoCowPair: { snapshot: string; file: string; problem: string };
  /** A removal by hand that needs more than that it was asked for. */
  SnapshotPinned: { snapshot: string };
  /** `damagedIn`: stores where a copy of it stays that is not sound. */
  LastSoundSnapshot: { snapshot: string; guest: string; damagedIn: string[] };
  RestoreFailed: { snapshot: string; path: string; problem: string };
  // export and import
  ExportFailed: { snapshot: string; problem: string };
  ImportFailed: { file: string; problem: string };
  // drills
  DrillImpossible: { problem: string };
  /** `lastLine`: of its console, printable; null: it said nothing. */
  DrillFailed: {
    snapshot: string;
    failure: DrillFailure;
    detail: string;
    job: string;
    lastLine: string | null;
  };
  // verify
  FilesystemBad: { snapshot: string; problem: string };
  SnapshotsBad: { looked: number; bad: BadSnapshot[] };
  ScratchUnusable: { path: string; problem: string };
  // files out of a snapshot
  FilesImpossible: { problem: string };
  NoSuchFile: { snapshot: string; disk: string; path: string; problem: string };
  // the agent in a guest
  InstallRefused: { root: string; path: string; problem: string };
  // the daemon and what it is asked for
  NoDaemon: { state: string };
  DaemonRuns: { state: string; pid: number | null };
  DaemonGone: { socketPath: string; problem: string };
  ControlUnusable: { socketPath: string; problem: string };
  DashboardUnusable: { problem: string };
  NotListening: { number: number; type: number };
  UnknownRequest: { number: number };
  KeepIsOn: Record<string, never>;
  TooManyRequests: { running: number };
  RequestIdTaken: { id: number };
  NoSuchRequest: { id: number };
  NotAllowed: { guest: string; request: string };
  // history, locks, the rest
  /** `isFull`: its filesystem has no room. */
  HistoryUnusable: { path: string; problem: string; isFull?: boolean };
  HistoryLocked: { path: string; waitedMs: number };
  JobEnded: { job: string; status: string };
  Busy: { what: string; holder: string };
  StateUnusable: { path: string; problem: string; isFull?: boolean };
  HookFailed: { guest: string; hook: string; command: string; problem: string };
  AlertFailed: { by: string; to: string; problem: string };
  CommandFailed: { command: string; exitCode: number | null; problem: string };
  Interrupted: { signal: string };
  Internal: { problem: string };
}

export type ErrorCode = keyof FactsByCode;

/** The one error class: `error.code` narrows `error.facts`. */
export class UmlsnapError<C extends ErrorCode = ErrorCode> extends Error {
  override readonly name = 'UmlsnapError';
  readonly code: C;
  readonly facts: FactsByCode[C];

  constructor(code: C, facts: FactsByCode[C], cause?: unknown) {
    super(`${code} ${JSON.stringify(facts)}`, cause === undefined ? undefined : { cause });
    this.code = code;
    this.facts = facts;
  }
}

/** True for an UmlsnapError with this code; narrows its facts. */
export function isError<C extends ErrorCode>(error: unknown, code: C): error is UmlsnapError<C> {
  return error instanceof UmlsnapError && error.code === code;
}

/** An error on its way from another process or thread: its class does not survive the way. */
export interface SentError {
  code: ErrorCode;
  facts: FactsByCode[ErrorCode];
}

/** What is no error of ours was not foreseen. */
export function toSentError(error: unknown): SentError {
  if (error instanceof UmlsnapError) return { code: error.code, facts: error.facts };
  const problem = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { code: 'Internal', facts: { problem } };
}

export function fromSentError({ code, facts }: SentError): UmlsnapError {
  return new UmlsnapError(code, facts);
}

/** True for what a history throws that is locked, full, damaged or gone. */
export function isHistoryFailure(
  error: unknown,
): error is UmlsnapError<'HistoryUnusable'> | UmlsnapError<'HistoryLocked'> {
  return isError(error, 'HistoryUnusable') || isError(error, 'HistoryLocked');
}

/** The errno name (`ENOSPC`) of an error of Node's, or undefined. */
export function errnoOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' && /^E[A-Z0-9]+$/.test(code) ? code : undefined;
}

/** Whether a filesystem has no room for what was to be written, or its user's quota has none. */
export function isOutOfRoom(error: unknown): boolean {
  return ['ENOSPC', 'EDQUOT'].includes(errnoOf(error) ?? '');
}

/** The text of anything thrown, for the `problem` of a fact: in words, also where the system says it in a code. */
export function problemOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const errno = errnoOf(error);
  return errno === undefined ? error.message : withoutErrno(error.message, errno);
}
