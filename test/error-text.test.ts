import { describe, expect, test } from 'vitest';
import { explainError, reasonOf } from '../src/error-text.js';
import { type ErrorCode, type FactsByCode, type GuestState, UmlsnapError } from '../src/errors.js';

const ofDisk = { guest: 'debian', device: 'ubd0' };
const ofSnapshot = { snapshot: 'debian@latest' };
const ofHook = { guest: 'debian', command: '/bin/false', problem: 'exit 1: no mirror' };
const inCapture = { guest: 'debian', phase: 'capture' };
const budget = { pausedMs: 5003, budgetMs: 5000 };
const overBudget = { guest: 'debian', predictedMs: 9000, budgetMs: 5000, dataBytes: 1e9 };
const silent = { guest: 'debian', problem: 'it answers no `go`' };
const notFrozenCauses: FactsByCode['NotFrozen']['cause'][] = [
  ...(['off', 'notBootedWithNotify', 'notifiesElsewhere', 'socketUnusable', 'noAgent'] as const),
  ...(['agentTooNew', 'hookFailed', 'hookOverran', 'filesystemRefused', 'tookTooLong'] as const),
  ...(['noAnswer', 'endedEarly'] as const),
];

/** Facts as they may come, for each code that there is: the compiler asks for a new one. */
const samples: { [C in ErrorCode]: FactsByCode[C][] } = {
  Usage: [{ problem: 'no SysRq key: "?"' }, { problem: 'It needs a file.' }],
  ConfigInvalid: [{ file: '/c.yaml', problems: [{ line: 1, column: 2, path: 'a', message: 'is no key' }] }],
  ConfigNotFound: [{ tried: ['/a', '/b'] }],
  NoSuchGuest: [['alpine'], []].map((known) => ({ guest: 'debian', known })),
  NoSuchSnapshot: [{ snapshot: 'debian@latest' }, { snapshot: 'debian@latest', ofOthers: ['there', null] }],
  NoSuchJob: [{ job: 'j1' }],
  NoSuchStore: [['other'], []].map((known) => ({ store: 'local', known })),
  NoMconsoleSocket: [{ guest: 'debian', tried: ['/run/m'] }],
  SocketPathTooLong: [{ socketPath: '/run/m', lengthBytes: 120, maxBytes: 107 }],
  NotASocket: [{ socketPath: '/run/m', found: 'directory' }],
  SocketNotAllowed: [{ socketPath: '/run/m', cause: 'permission denied' }],
  SocketReplaced: [{ socketPath: '/run/m' }],
  RequestTooLarge: [{ lengthBytes: 600, maxBytes: 511 }],
  GuestNotAnswering: [{ socketPath: '/run/m', command: 'version', waitedMs: 3000 }],
  GuestSocketDead: [{ socketPath: '/run/m', command: 'version' }],
  CommandRefused: ['Unknown command', ''].map((text) => ({ command: 'dance', err: 1, text })),
  ReplyMalformed: [{ socketPath: '/run/m', command: 'version', problem: 'it is too short' }],
  TooLarge: [2 ** 20, 2 ** 42].map((largestBytes) => ({ what: 'It has', sizeBytes: 2 ** 43, largestBytes })),
  GuestAlreadyStopped: [{ guest: 'debian' }],
  GuestProcessNotFound: [{ guest: 'debian', diskPath: '/d.img' }],
  GuestHalted: [{ guest: 'debian' }, { guest: 'debian', phase: 'precopy' }],
  GuestHasSeveralCpus: [{ guest: 'debian', cpus: 2 }],
  SysrqDisabled: [{ guest: 'debian', setting: '0' }],
  DiskMismatch: [{ ...ofDisk, configured: '/d.img', reported: '', problem: 'it has another path' }],
  GuestOfSeveralUsers: [null, 'alice'].map((named) => ({
    guest: 'debian',
    named,
    parts: [{ what: '/m', uid: 1002 }],
  })),
  NoSuchUser: [{ guest: 'debian', user: 'alice' }],
  DiskUnusable: [{ ...ofDisk, path: '/d.img', problem: 'it is a symbolic link' }],
  StoreNotMounted: [{ store: 'local', path: '/s', problem: 'its marker is not there' }],
  StoreReplaced: [{ store: 'local', path: '/s', problem: 'its marker file is not there' }],
  StoreUnusable: [{ store: 'local', path: '/s', problem: 'the filesystem is read-only' }],
  StoreTooFull: [{ store: 'local', path: '/s', neededBytes: 2e6, freeBytes: 1e6, freeInodes: 5 }],
  PredictedPauseOverBudget: ['copy', 'precopy'].map((method) => ({ ...overBudget, method })),
  CaptureImpossible: ['reflink', 'auto'].map((method) => ({ guest: 'debian', method, reason: 'EXDEV' })),
  StopUnanswered: inEachState((guestState) => ({ guest: 'debian', waitedMs: 5000, guestState })),
  PauseBudgetExceeded: [true, false].map((guestResumed) => ({ ...inCapture, ...budget, guestResumed })),
  GuestNotStopped: [{ ...inCapture, pid: 12, socketPath: '/run/m' }],
  ResumedByOthers: [inCapture],
  GuestGone: [[], [12]].map((leftoverPids) => ({ ...inCapture, leftoverPids })),
  GuestPanicked: ['', 'Attempted to kill init!'].map((text) => ({ ...inCapture, text })),
  GuestRebooted: [inCapture],
  GuardianFailed: inEachState((guestState) => ({ guest: 'debian', problem: 'it was killed', guestState })),
  GuestMayBePaused: [null, 12].map((guardianPid) => ({ ...silent, guardianPid })),
  NotFrozen: notFrozenCauses.map((cause) => ({ guest: 'debian', cause, detail: 'what is known of it' })),
  NotifyUnusable: [{ socketPath: '/run/n', problem: 'it is taken' }],
  ThawHookFailed: [{ guest: 'debian', problem: 'its hook 10-db failed with exit code 3' }],
  GuestMayBeFrozen: [{ guest: 'debian', problem: 'no answer', endsByItselfAt: '2026-11-28T02:00:00.000Z' }],
  IoNotDrained: [{ guest: 'debian', waitedMs: 4000 }],
  SourceChanged: [{ ...ofDisk, problem: 'it was replaced by another file' }],
  CaptureFailed: [{ ...ofDisk, problem: "the disk can't be read (EIO)" }],
  TrackingLost: [{ guest: 'debian', problem: 'a buffer overran' }],
  CaptureDamaged: [{ ...ofDisk, problem: 'it was replaced' }],
  ConsistencyTooWeak: [[], ['ubd0', 'ubd1']].map((written) => ({
    ...{ guest: 'debian', required: 'synced', reached: 'crash', dirtyKib: 4, written, tries: 3 },
    hasAgent: written.length > 0,
  })),
  SnapshotExists: [{ store: 'local', snapshot: 'debian@latest' }],
  SnapshotChanged: [{ store: 'local', snapshot: 'debian@latest' }],
  SnapshotOfOther: [null, { id: 'c0ffee00-1111-4222-8333-444455556666', host: 'there' }].map((owner) => ({
    ...{ store: 'local', snapshot: 'debian@latest', owner },
  })),
  NothingToAdopt: [[], ['there (c0ffee00-1111-4222-8333-444455556666)']].map((known) => ({
    ...{ of: 'elsewhere', known },
  })),
  HostAmbiguous: [{ host: 'there', ids: ['c0ffee00-1111-4222-8333-444455556666', 'c0ffee01'] }],
  TargetInUse: [null, 12].map((pid) => ({ path: '/d.img', pid })),
  TargetExists: [{ path: '/d.img' }],
  NotOurs: [{ path: '/d.img' }],
  SnapshotDamaged: [
    { snapshot: 'debian@latest', problem: 'its manifest is not there' },
    { ...ofSnapshot, problem: 'a byte', store: 'local', soundIn: ['archive'] },
    { ...ofSnapshot, problem: 'a byte', copies: [{ store: 'local', type: 'damaged', problem: 'a byte' }] },
    { ...ofSnapshot, problem: 'x', copies: [{ store: 'local', type: 'badFilesystem', problem: 'x' }] },
  ],
  SnapshotPinned: [ofSnapshot],
  LastSoundSnapshot: [[], ['local']].map((damagedIn) => ({ ...ofSnapshot, guest: 'debian', damagedIn })),
  NoCowPair: [{ ...ofSnapshot, file: 'ubd0.cow', problem: 'the COW file has no COW header' }],
  RestoreFailed: [{ snapshot: 'debian@latest', path: '/d.img', problem: 'EIO' }],
  ExportFailed: [{ snapshot: 'debian@latest', problem: 'ENOSPC' }],
  ImportFailed: [{ file: '/a.tar', problem: 'it is cut off' }],
  DrillImpossible: [{ problem: 'there is no kernel' }],
  DrillFailed: [
    { ...ofSnapshot, failure: 'noInit', detail: 'no init', job: 'j1', lastLine: 'Kernel panic' },
    { ...ofSnapshot, failure: 'damaged', detail: 'its manifest is not there.', job: 'j1', lastLine: null },
  ],
  FilesystemBad: [{ ...ofSnapshot, problem: 'e2fsck: bad inode' }],
  SnapshotsBad: [{ looked: 3, bad: [{ snapshot: 'debian@latest', store: 'local', problem: 'damaged' }] }],
  ScratchUnusable: [{ path: '/scratch', problem: 'it has 1 MiB free' }],
  FilesImpossible: [{ problem: 'debugfs is not installed' }],
  NoSuchFile: [{ snapshot: 'debian@latest', disk: 'ubd0', path: '/etc', problem: 'it is not there' }],
  InstallRefused: [{ root: '/r', path: '/r/etc', problem: 'it is a link' }],
  NoDaemon: [{ state: '/state' }],
  DaemonRuns: [null, 12].map((pid) => ({ state: '/state', pid })),
  DaemonGone: [{ socketPath: '/c.sock', problem: 'the connection was broken off' }],
  ControlUnusable: [{ socketPath: '/c.sock', problem: 'access is denied' }],
  DashboardUnusable: [{ problem: 'the port is taken' }],
  NotListening: [{ number: 1, type: 0 }],
  UnknownRequest: [{ number: 9 }],
  KeepIsOn: [{}],
  TooManyRequests: [{ running: 5 }],
  RequestIdTaken: [{ id: 1 }],
  NoSuchRequest: [{ id: 1 }],
  NotAllowed: [{ guest: 'debian', request: 'snapshot' }],
  HistoryUnusable: [false, true].map((isFull) => ({ path: '/h.db', problem: 'it is damaged', isFull })),
  HistoryLocked: [{ path: '/h.db', waitedMs: 5000 }],
  JobEnded: [{ job: 'j1', status: 'failed' }],
  Busy: [{ what: 'Guest debian', holder: 'umlsnap job j1' }],
  StateUnusable: [false, true].map((isFull) => ({ path: '/state', problem: 'access is denied', isFull })),
  HookFailed: ['before', 'after', 'failed'].map((hook) => ({ ...ofHook, hook })),
  AlertFailed: [{ by: 'webhook', to: 'example.org', problem: 'it answered 500' }],
  CommandFailed: [null, 1].map((exitCode) => ({ command: 'zstd', exitCode, problem: 'no room' })),
  Interrupted: [{ signal: 'SIGINT' }],
  Internal: [{ problem: 'x is not a function' }],
};

function inEachState<T>(factsOf: (state: GuestState) => T): T[] {
  return (['running', 'stopped', 'gone', 'unknown'] as const).map(factsOf);
}

/** All that a message may say of the state of its guest: one of them, or that it is unknown. */
const states = [
  /The guest runs\b/,
  /The guest was resumed and runs\./,
  /The guest was not touched\b/,
  /The guest was left running\./,
  /The guest does not stand still for it\./,
  /The guest is STOPPED\./,
  /is stopped already\b/,
  /MAY STILL BE (PAUSED|FROZEN)/,
  /The guest no longer runs\b/,
  /^Guest \S+ (died or )?rebooted\b/,
  /guest behind it is gone\./,
  /is UNKNOWN\b/,
  /\b(state|runs) is unknown\b/,
  /told by the job itself\./,
];

/** Codes whose facts name a guest that has nothing done to it: there is none of that name, or it only asks. */
const notAboutState: ErrorCode[] = ['NoSuchGuest', 'NotAllowed', 'LastSoundSnapshot'];
/** They name no guest by their facts, and are about one all the same. */
const aboutState: ErrorCode[] = ['GuestNotAnswering', 'GuestSocketDead'];

const command = /`umlsnap [a-z]+[^`]*`|\bumlsnap (prune|daemon)\b/;
const imperative =
  /(?:^|[.?;:,] |\b(?:and|or) )(?:[Bb]ack up|[Bb]ack it up|[Bb]oot|[Cc]hange it|[Cc]hoose|[Ee]nd them|[Ff]ind out|[Ff]ree some|[Gg]ive it|[Hh]alt|[Ii]n the guest: sysctl|[Ll]ook|[Mm]ount|[Mm]ove|[Pp]lease report|[Pp]ut|[Rr]aise|[Rr]emove|[Rr]un|[Ss]et|[Ss]horten|[Tt]ake another|[Tt]ry|[Uu]se|[Ww]rite)\b/;

/**
 * Nothing to do that the message could know better than its reader: what is wrong, or what there is to choose from, stands in it,
 * or all is as it should be.
 */
const nothingToDo: ErrorCode[] = [
  ...(['Usage', 'ConfigInvalid', 'NoSuchGuest', 'NoSuchStore', 'SnapshotExists', 'UnknownRequest'] as const),
  ...(['NoSuchRequest', 'NotAllowed', 'JobEnded', 'CommandFailed', 'Interrupted', 'NothingToAdopt'] as const),
];
/** One line for each thing that is wrong. */
const lists: ErrorCode[] = ['ConfigInvalid', 'SnapshotsBad'];

const codes = Object.keys(samples) as ErrorCode[];
/** What a problem says comes from elsewhere, with a full stop at its end or without. */
const factsOf = (code: ErrorCode): FactsByCode[ErrorCode][] =>
  samples[code].flatMap((facts) => {
    const said = Object.entries(facts).filter(([key]) => key === 'problem' || key === 'reason');
    const closed = said.map(([key, text]) => [key, `${String(text).replace(/\.$/, '')}.`]);
    return closed.length === 0 ? [facts] : [facts, { ...facts, ...Object.fromEntries(closed) }];
  });
const textsOf = (code: ErrorCode) =>
  factsOf(code).map((facts) => ({ facts, text: explainError(new UmlsnapError(code, facts)) }));

describe.each(codes)('the message of %s', (code) => {
  if (!lists.includes(code))
    test('is one paragraph of whole sentences, whatever its facts end with', () => {
      for (const { text } of textsOf(code)) {
        expect(text).toMatch(/^\S[^\n]+\.$/);
        expect(text).not.toMatch(/\.\.| {2}|undefined|null|\[object| \.|[?!]\.$/);
      }
    });

  test('names its guest, and what it is in now, and does not say that it runs and that this is unknown', () => {
    for (const { facts, text } of textsOf(code)) {
      const isNamed = 'guest' in facts;
      if (isNamed) expect(text).toContain('debian');
      const isAboutState = (isNamed && !notAboutState.includes(code)) || aboutState.includes(code);
      if (isAboutState) expect(text).toSatisfy((said: string) => states.some((state) => state.test(said)));
      const saysRuns = /guest (was resumed and )?runs\./i.test(text) || /runs on\./.test(text);
      expect(saysRuns && /unknown|UNKNOWN|STOPPED|no longer runs|MAY STILL/.test(text), text).toBe(false);
    }
  });

  test('says what to do, unless there is nothing', () => {
    for (const { text } of textsOf(code)) {
      expect(command.test(text) || imperative.test(text), text).toBe(!nothingToDo.includes(code));
    }
  });
});

test('the reason of another failure is what happened, without advice that is wrong there: not to boot a guest that may be paused', () => {
  const dead = new UmlsnapError('GuestSocketDead', { socketPath: '/run/m', command: 'go' });
  expect(explainError(dead)).toMatch(/Boot it/);
  expect(reasonOf(dead)).toBe(
    'Nobody listens at /run/m any more (asked for `go`): the guest behind it is gone',
  );
});
