import type { ErrorCode } from './errors.js';

/** Exit codes of the command line, design §8. */
export const exitCodes = {
  done: 0,
  failed: 1,
  usage: 2,
  warnings: 3,
  noSuchThing: 10,
  busy: 11,
  pinned: 12,
  lastSound: 13,
  guestMayBePaused: 20,
  skipped: 75,
  interrupted: 130,
} as const;

export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

const special: Partial<Record<ErrorCode, ExitCode>> = {
  Usage: exitCodes.usage,
  ConfigInvalid: exitCodes.usage,
  ConfigNotFound: exitCodes.usage,
  NoSuchGuest: exitCodes.noSuchThing,
  NoSuchSnapshot: exitCodes.noSuchThing,
  NoSuchJob: exitCodes.noSuchThing,
  NoSuchStore: exitCodes.noSuchThing,
  NoSuchFile: exitCodes.noSuchThing,
  NothingToAdopt: exitCodes.noSuchThing,
  HostAmbiguous: exitCodes.usage,
  NoDaemon: exitCodes.noSuchThing,
  DaemonRuns: exitCodes.busy,
  NoSuchRequest: exitCodes.noSuchThing,
  UnknownRequest: exitCodes.usage,
  GuestHalted: exitCodes.skipped,
  NotListening: exitCodes.skipped,
  KeepIsOn: exitCodes.skipped,
  TooManyRequests: exitCodes.skipped,
  SnapshotPinned: exitCodes.pinned,
  LastSoundSnapshot: exitCodes.lastSound,
  RequestIdTaken: exitCodes.busy,
  Busy: exitCodes.busy,
  TargetInUse: exitCodes.busy,
  HistoryLocked: exitCodes.busy,
  GuestMayBePaused: exitCodes.guestMayBePaused,
  Interrupted: exitCodes.interrupted,
};

/** The exit code of a failure. */
export function exitCodeOf(code: ErrorCode): ExitCode {
  return special[code] ?? exitCodes.failed;
}
