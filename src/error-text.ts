import {
  type DrillFailure,
  type ErrorCode,
  type FactsByCode,
  type GuestState,
  type NotFrozenCause,
  problemOf,
  UmlsnapError,
} from './errors.js';

/** The one place where errors become prose: what happened, to which guest, what state it is in now, what to do. */

type Texts = { [C in ErrorCode]: (facts: FactsByCode[C]) => string };

/** `1 guest`, `2 guests` */
export const countText = (count: number, one: string, many = `${one}s`): string =>
  `${count} ${count === 1 ? one : many}`;

const mib = (bytes: number) => `${(bytes / 1048576).toFixed(1)} MiB`;
const tib = (bytes: number) => (bytes < 2 ** 40 ? mib(bytes) : `${(bytes / 2 ** 40).toFixed(3)} TiB`);
const ms = (value: number) => `${Math.round(value)} ms`;
/** What somebody else said may be a whole sentence already. */
const closed = (text: string) => (/[.!?]$/.test(text) ? text : `${text}.`);
const runs = 'The guest was not touched and runs on.';
/** Whether it runs was not looked at, or can't be: what is known is that we did nothing to it. */
const untouched = 'The guest was not touched.';
/** Not stopped by us, or resumed before anybody hears of it: the scope of a pause ends first. */
const leftRunning = 'The guest was left running.';
/** It ran when the backup had ended, and is a warning of that job. */
const toldBeside = 'What became of the guest and of its snapshot is told by the job itself.';
const putRight = 'Put that right, and try again.';
const backUpAgain = 'Back it up again when it is up.';

/** What makes a guest's snapshots better than they are. */
export const agentCure = 'The agent in the guest would make its snapshots `frozen` (`umlsnap agent`).';

/** What of the guest was not on its disks at a stop that proves no more than `crash`. */
export function missingText(dirtyKib: number): string {
  return dirtyKib > 0 ? `${dirtyKib} KiB not on disk` : 'its last writes perhaps not on disk';
}

/** @param written devices that were written from its sync to the stop */
export function writingText(dirtyKib: number, written: readonly string[]): string {
  const where = written.length > 0 ? ` (it wrote to ${written.join(', ')} since its sync)` : '';
  return `was writing when it was stopped, with ${missingText(dirtyKib)}${where}`;
}

const stateText: Record<GuestState, string> = {
  running: 'The guest runs.',
  stopped: 'The guest is STOPPED.',
  gone: 'The guest no longer runs: its process is gone.',
  unknown: 'Whether the guest runs is UNKNOWN: look with `umlsnap status`, resume with `umlsnap recover`.',
};

const notFrozenText: Record<NotFrozenCause, (detail: string) => string> = {
  off: () => 'the config says agent: off',
  notBootedWithNotify: (socket) =>
    `it was not booted with mconsole=notify:${socket}, so that its agent could not answer`,
  notifiesElsewhere: (socket) => `it notifies ${socket}, and we listen elsewhere: set notify: to that path`,
  socketUnusable: (problem) => `its notify socket can't be used: ${problem}`,
  noAgent: (waited) => `no agent in it answered within ${waited}: see \`umlsnap agent\``,
  agentTooNew: () => 'the agent in it is newer than this umlsnap',
  hookFailed: (hook) => `its hook ${hook}`,
  hookOverran: (hook) => `its hook ${hook} took too long, and was killed`,
  filesystemRefused: (text) => `a filesystem could not be frozen: ${text}`,
  tookTooLong: (text) => `it was not frozen in time: ${text}`,
  noAnswer: (waited) => `its agent did not answer the order to freeze within ${waited}`,
  endedEarly: (how) => `the freeze did not hold until the end: ${how}`,
};

const drillFailureText: Record<DrillFailure, (detail: string) => string> = {
  kernelDidNotStart: (detail) => `the kernel did not come up (${detail})`,
  rootNotMounted: (detail) => `its root filesystem can't be mounted (${detail})`,
  noInit: (detail) => `there is no init that can be run (${detail})`,
  initDied: (detail) => `its init ended (${detail})`,
  panicked: (detail) => `its kernel panicked (${detail})`,
  ended: (detail) => `it ended before it had proved that it lives (${detail})`,
  consoleSilent: (detail) => `its kernel did not answer on its management console ${detail}`,
  initNotSeen: (detail) => `its kernel runs, and no program on a root filesystem was seen ${detail}`,
  notExpected: (detail) => `it runs, and did not say what is expected: ${detail}`,
  agentSilent: (detail) => `it runs, and its agent did not run the hooks for a drill: ${detail}`,
  hookFailed: (detail) => `it runs, and its hook ${detail}`,
  wroteTooMuch: (detail) => `it filled the disk that it was drilled on: ${detail}`,
  tookTooMuchMemory: (detail) => `its processes took too much memory: ${detail}`,
  damaged: (detail) => `it is damaged, and was not booted: ${detail}`,
  noCowPair: (detail) =>
    `a COW file of it makes no disk with its backing file, and was not booted: ${detail}`,
};

/** What speaks of how it was booted as much as of the snapshot. */
const neverBooted: DrillFailure[] = [
  'kernelDidNotStart',
  'rootNotMounted',
  'noInit',
  'consoleSilent',
  'initNotSeen',
];
const bootsOtherwise =
  ' If the guest itself boots with another kernel, root or init, say so in the config (drill: kernel, arguments).';
/** Guests need no history to run. */
const makeRoom = 'Guests run on. Free some room on that filesystem, and try again.';

const texts: Texts = {
  Usage: (f) => closed(f.problem),
  ConfigInvalid: (f) =>
    [
      `${f.file} has ${countText(f.problems.length, 'problem')}:`,
      ...f.problems.map(
        (p) => `  ${f.file}:${p.line}:${p.column} ${p.path === '' ? '' : `${p.path}: `}${p.message}`,
      ),
    ].join('\n'),
  ConfigNotFound: (f) =>
    `There is no config. Looked for: ${f.tried.join(', ')}. Write one with \`umlsnap config init --write FILE\`, or name one with -c.`,
  NoSuchGuest: (f) =>
    `No guest is called ${f.guest} in ${f.lookedIn ?? 'the config'}. The config knows: ${f.known.join(', ') || 'none'}.`,
  NoSuchSnapshot: ({ snapshot, ofOthers = [] }) => {
    if (ofOthers.length === 0)
      return `There is no snapshot ${snapshot}. \`umlsnap list\` shows those that exist.`;
    const whose = ofOthers.map((host) => (host === null ? 'nobody who is known' : `host ${host}`)).join(', ');
    return `There is no snapshot ${snapshot} of our own, only some of ${whose}. Name one of them (\`umlsnap list\` shows them), or make them yours with \`umlsnap adopt\`.`;
  },
  NoSuchJob: (f) => `There is no job ${f.job}. \`umlsnap history\` shows those that exist.`,
  NoSuchStore: (f) =>
    `No store is called ${f.store} in the config. It knows: ${f.known.join(', ') || 'none'}.`,
  NoMconsoleSocket: (f) =>
    `Guest ${f.guest} has no management console: found no socket at ${f.tried.join(', ')}. Whether it runs is unknown. Look with \`umlsnap discover\`; boot it, or put its socket into the config (mconsole:).`,
  SocketPathTooLong: (f) =>
    `The socket path ${f.socketPath} is ${f.lengthBytes} bytes long; the kernel takes at most ${f.maxBytes}. Use a shorter one (uml_dir= sets it).`,
  NotASocket: (f) =>
    `${f.socketPath} is a ${f.found}, not a management console's socket. Put the right path into the config.`,
  SocketNotAllowed: (f) =>
    `May not talk to ${f.socketPath}: ${f.cause}. Its socket is for its owner and root: run umlsnap as one of them.`,
  SocketReplaced: (f) =>
    `${f.socketPath} now leads to another socket than when the job began: the guest was rebooted, or somebody put another socket there. Try again.`,
  RequestTooLarge: (f) =>
    `A request to a management console has at most ${f.maxBytes} bytes; this one has ${f.lengthBytes}. Shorten it.`,
  GuestNotAnswering: (f) =>
    `Nothing answered \`${f.command}\` at ${f.socketPath} within ${ms(f.waitedMs)}. The guest's state is unknown: it may hang, be stopped by a signal, or be gone. Look with \`umlsnap status\`, and try again; \`umlsnap recover\` resumes what we have left paused.`,
  GuestSocketDead: (f) =>
    `Nobody listens at ${f.socketPath} any more (asked for \`${f.command}\`): the guest behind it is gone. Boot it, and try again.`,
  CommandRefused: (f) =>
    `The guest refused \`${f.command}\`: ${f.text || 'no reason given'} (${f.err}). Look with \`umlsnap mconsole GUEST help\` at what its console takes.`,
  ReplyMalformed: (f) =>
    `${f.socketPath} answered \`${f.command}\` with something that is no mconsole reply: ${closed(f.problem)} Is it a UML management console? Look with \`umlsnap discover\` which socket is.`,
  TooLarge: (f) =>
    `${f.what} ${tib(f.sizeBytes)} together, holes included, and the config allows ${tib(f.largestBytes)} (largestSnapshot): nothing was read. If that size is a real one, raise largestSnapshot.`,
  GuestAlreadyStopped: (f) =>
    `Guest ${f.guest} is stopped already, and not by us: somebody did that on purpose, so we leave it stopped. Resume it with \`umlsnap mconsole ${f.guest} go\`.`,
  GuestProcessNotFound: (f) =>
    `No process of guest ${f.guest} holds ${f.diskPath} open for writing. Is that its disk, is it running, and may we look at its process? ${untouched} Look with \`umlsnap status\`; run umlsnap as the guest's user or as root.`,
  GuestHalted: (f) =>
    `Guest ${f.guest} ${f.phase === undefined ? 'is halted' : `was halted during ${f.phase}`}: nobody listens at its console, and no process has its disks open. ${f.phase === undefined ? '' : 'Nothing was kept of this backup, and its snapshots of before are as they were. '}The guest no longer runs, and its backups are skipped until it does. Boot it, or take its schedule out of the config.`,
  GuestHasSeveralCpus: (f) =>
    `Guest ${f.guest} has ${f.cpus} CPUs: its \`stop\` leaves the others running, so its disk would change under the copy. ${runs} Boot it with one CPU, or accept a snapshot that is damaged at worst: allowSmp: true, without \`require\`.`,
  SysrqDisabled: (f) =>
    `SysRq is switched off in guest ${f.guest} (kernel.sysrq = ${f.setting}), so it can't be made to sync. ${runs} In the guest: sysctl kernel.sysrq=1 (or a mask with 16).`,
  GuestOfSeveralUsers: (f) =>
    `Guest ${f.guest} is not ${f.named === null ? "one user's" : `user ${f.named}'s`}: ${f.parts.map(({ what, uid }) => `${what} belongs to user ${uid}`).join(', ')}. ${untouched} Put the owners right, or name the user who runs it in the config (guests.${f.guest}.user).`,
  NoSuchUser: (f) =>
    `There is no user ${f.user} in /etc/passwd, and the config of guest ${f.guest} names one. ${untouched} Put the name right (user, notifyOwner).`,
  DiskMismatch: (f) =>
    `Disk ${f.device} of guest ${f.guest} is not what the config says: config ${f.configured}, guest ${f.reported || 'none'}: ${closed(f.problem)} ${runs} Put the right path into the config.`,
  DiskUnusable: (f) =>
    `Disk ${f.device} of guest ${f.guest}, ${f.path}, can't be used: ${closed(f.problem)} ${untouched} Put the file right, or its path in the config.`,
  StoreNotMounted: (f) =>
    `Store ${f.store} is not there: ${f.path}: ${closed(f.problem)} Nothing was written. Is its filesystem mounted? Mount it, and try again. A store that was replaced on purpose: \`umlsnap store moved ${f.store}\`.`,
  StoreReplaced: (f) =>
    `What lies at ${f.path} is not the store ${f.store} that the history remembers: ${closed(f.problem)} Nothing was changed. Mount the right one; or have this one taken from now on, with \`umlsnap store moved ${f.store} --yes\`: what only the old one has is then struck from the history.`,
  StoreUnusable: (f) => `Store ${f.store} can't be used: ${f.path}: ${closed(f.problem)} ${putRight}`,
  StoreTooFull: (f) =>
    `Store ${f.store} has too little room: ${f.path} has ${mib(f.freeBytes)} and ${countText(f.freeInodes, 'inode')} free, ${mib(f.neededBytes)} are needed. Free some (umlsnap prune), or give it more.`,
  PredictedPauseOverBudget: (f) =>
    `Guest ${f.guest} would stand still for about ${ms(f.predictedMs)} (${f.method === 'precopy' ? 'comparing' : f.method} of ${mib(f.dataBytes)}), its budget is ${ms(f.budgetMs)}. ${runs} Let \`capture: precopy\` trace what is written (as root, see \`umlsnap snapshot --dry-run\` for what is in its way), or put the store on the disk's own XFS or btrfs (a reflink): both take milliseconds. Or set pauseBudget to at least ${Math.ceil((f.predictedMs * 1.5) / 1000)}s.`,
  CaptureImpossible: (f) =>
    `Guest ${f.guest} can't be captured by ${f.method}: ${closed(f.reason)} ${runs} Put that right${f.method === 'auto' ? '' : ', or set capture: auto'}.`,
  StopUnanswered: (f) =>
    `Guest ${f.guest} did not answer \`stop\` within ${ms(f.waitedMs)}; the snapshot is given up. ${stateText[f.guestState]} Is it too busy to answer? Back it up in a quieter hour, or raise pauseBudget.`,
  PauseBudgetExceeded: (f) =>
    `Guest ${f.guest} stood still for ${ms(f.pausedMs)} in phase ${f.phase}, its budget is ${ms(f.budgetMs)}: the snapshot was thrown away. ${f.guestResumed ? 'The guest was resumed and runs.' : stateText.unknown} Raise pauseBudget, or use a faster capture.`,
  GuestNotStopped: (f) =>
    `Guest ${f.guest} did not stand still in phase ${f.phase}, though its console said so: the snapshot was thrown away. The guest runs. Look whether the console ${f.socketPath} belongs to the process that has its disks open (pid ${f.pid}), and whether somebody else sends \`go\`.`,
  ResumedByOthers: (f) =>
    `Somebody else resumed guest ${f.guest} during ${f.phase}, so its disk may have changed under the capture: the snapshot was thrown away. The guest runs. Find out who sends \`go\` to its console, and back it up again.`,
  GuestGone: (f) =>
    `Guest ${f.guest} died or rebooted during ${f.phase}: the snapshot was thrown away.${f.leftoverPids.length > 0 ? ` Its processes ${f.leftoverPids.join(', ')} are left over and hold its disks: end them.` : ''} ${backUpAgain}`,
  GuestPanicked: (f) =>
    `Guest ${f.guest} panicked during ${f.phase}${f.text === '' ? '.' : `, by its own words: ${closed(f.text)}`} The snapshot was thrown away. Whether the guest still runs is unknown; it is not paused by us. Look with \`umlsnap status\`, boot it anew, and back it up then.`,
  GuestRebooted: (f) =>
    `Guest ${f.guest} rebooted during ${f.phase}: the snapshot was thrown away. ${backUpAgain}`,
  GuardianFailed: (f) =>
    `The guardian of guest ${f.guest} failed: ${closed(f.problem)} ${stateText[f.guestState]} Try again; if it fails again, look with \`umlsnap doctor\`.`,
  GuestMayBePaused: (f) =>
    `GUEST ${f.guest} MAY STILL BE PAUSED: ${closed(f.problem)} ${f.guardianPid === null ? '' : `The guardian (pid ${f.guardianPid}) goes on trying to resume it. `}Run \`umlsnap recover\`; by hand: \`umlsnap mconsole ${f.guest} go\`.`,
  NotFrozen: (f) =>
    `The filesystems of guest ${f.guest} were not frozen: ${closed(notFrozenText[f.cause](f.detail))} The guest runs. ${f.cause === 'off' ? 'Set agent: auto for a freeze.' : 'Look at its agent with `umlsnap doctor`.'}`,
  GuestMayBeFrozen: (f) =>
    `The filesystems of guest ${f.guest} MAY STILL BE FROZEN: ${closed(f.problem)} Its own timer thaws them by ${f.endsByItselfAt}; at once: \`umlsnap mconsole ${f.guest} sysrq j\`.`,
  NotifyUnusable: (f) =>
    `The notify socket ${f.socketPath} can't be used: ${closed(f.problem)} Set \`notify:\` to a path that the guest's user can get to, and boot the guest with it.`,
  ThawHookFailed: (f) =>
    `After the thaw of guest ${f.guest}, ${closed(f.problem)} The guest runs. Look in it at its hook, and at what the hook was to undo.`,
  IoNotDrained: (f) =>
    `Guest ${f.guest} was stopped, but its disk writes were not finished after ${ms(f.waitedMs)}: the snapshot was given up. The guest runs. Back it up when the host's disks have less to do, or raise pauseBudget.`,
  SourceChanged: (f) =>
    `Disk ${f.device} of guest ${f.guest} changed during the capture: ${closed(f.problem)} The capture was thrown away. ${leftRunning} Back it up again; if it happens again, look who else writes to that file.`,
  CaptureFailed: (f) =>
    `Capturing disk ${f.device} of guest ${f.guest} failed: ${closed(f.problem)} The capture was thrown away. ${leftRunning} ${putRight}`,
  TrackingLost: (f) =>
    `What guest ${f.guest} wrote while its disks were copied is not known for sure: ${closed(f.problem)} The copy was thrown away. The guest runs. Back it up again, or set precopyTracker: auto, which compares the disks then.`,
  CaptureDamaged: (f) =>
    `The captured copy of disk ${f.device} of guest ${f.guest} is not as it was captured: ${closed(f.problem)} It was thrown away. The guest does not stand still for it. Look whether the store's disk is sound and who else writes there, and try again.`,
  ConsistencyTooWeak: (f) =>
    `Guest ${f.guest} ${writingText(f.dirtyKib, f.written)}${f.tries === 1 ? '' : `, the last of ${f.tries} times`}: that is \`${f.reached}\`, and \`${f.required}\` is required. The guest runs, no snapshot was kept. ${f.hasAgent ? 'Its agent could not keep it frozen: look with `umlsnap doctor`.' : agentCure} Or require less: without \`require\` the best that can be reached is taken.`,
  SnapshotExists: (f) => `Store ${f.store} has a snapshot ${f.snapshot} already; it was left as it is.`,
  SnapshotChanged: (f) =>
    `Snapshot ${f.snapshot} in store ${f.store} is not what it was a moment ago: somebody adopted it, or another one has its name. It was left as it is. Look with \`umlsnap list\`, and try again.`,
  SnapshotOfOther: (f) =>
    f.owner === null
      ? `Snapshot ${f.snapshot} in store ${f.store} is nobody's whom this umlsnap knows: it was left as it is. Is it yours? Make it so with \`umlsnap adopt unknown\`.`
      : `Snapshot ${f.snapshot} in store ${f.store} belongs to host ${f.owner.host} (${f.owner.id}): it was left as it is. Change it there; if that host is gone, make it yours with \`umlsnap adopt ${f.owner.id}\`.`,
  NothingToAdopt: (f) =>
    `There is no snapshot of ${f.of} to adopt in the stores that could be asked. ${f.known.length === 0 ? 'All are ours.' : `Others than ours are of: ${f.known.join(', ')}.`}`,
  HostAmbiguous: (f) =>
    `Several states have had the host name ${f.host}: ${f.ids.join(', ')}. Nothing was changed. Use the id of the one that you mean.`,
  TargetInUse: (f) =>
    `${f.path} is in use${f.pid === null ? '' : ` by process ${f.pid}`}: halt the guest first. Nothing was changed.`,
  TargetExists: (f) =>
    `${f.path} exists already and is left as it is. Choose an empty place, or restore --in-place.`,
  NotOurs: (f) =>
    `${f.path} was not put there by umlsnap: nothing was removed. Look at it, and move it elsewhere.`,
  SnapshotDamaged: (f) => {
    const { snapshot, soundIn = [], copies = [] } = f;
    const [elsewhere] = soundIn;
    const where = f.store === undefined ? '' : ` in store ${f.store}`;
    if (elsewhere !== undefined)
      return `Snapshot ${snapshot}${where} is damaged: ${closed(f.problem)} Its copy in ${soundIn.map((store) => `store ${store}`).join(', ')} is sound: take that with \`--store ${elsewhere}\`; \`umlsnap verify ${snapshot} --heal\` brings this one back from it.`;
    if (copies.length === 0)
      return `Snapshot ${snapshot}${where} is damaged: ${closed(f.problem)} It must not be restored; take another one.`;
    const usable = copies.find(({ type }) => type !== 'damaged');
    const each = copies
      .map((copy) => `in store ${copy.store}, ${copy.problem.replace(/[.]$/, '')}`)
      .join('; ');
    return `No copy of snapshot ${snapshot} is sound: ${closed(each)} ${
      usable
        ? `Choose another one (\`umlsnap list\`), or take this one all the same with \`--store ${usable.store}\`.`
        : 'It must not be restored; take another one (`umlsnap list`), or see with `umlsnap verify` whether it is damaged still.'
    }`;
  },
  NoCowPair: (f) =>
    `Snapshot ${f.snapshot} is as it was captured, but ${f.file} makes no disk with its backing file: ${closed(f.problem)} Nothing was restored. Restore it without --merge to look at the two, or take another one.`,
  SnapshotPinned: (f) =>
    `Snapshot ${f.snapshot} is pinned: nothing was removed. Unpin it first (\`umlsnap unpin ${f.snapshot}\`), or remove it all the same with --force.`,
  LastSoundSnapshot: (f) =>
    f.damagedIn.length === 0
      ? `Snapshot ${f.snapshot} is the last sound one of guest ${f.guest}, in all stores that could be asked: nothing was removed. Back the guest up first, or remove it all the same with --force.`
      : `This is the last sound copy of ${f.snapshot} of guest ${f.guest}, and the one in ${f.damagedIn.join(', ')} is not sound: nothing was removed. Bring that back first (\`umlsnap verify ${f.snapshot} --heal\`), or remove it all the same with --force.`,
  RestoreFailed: (f) =>
    `Restoring ${f.snapshot} to ${f.path} failed: ${closed(f.problem)} What was there before is unchanged. ${putRight}`,
  ExportFailed: (f) =>
    `Exporting ${f.snapshot} failed: ${closed(f.problem)} What was written of the archive is no whole one: remove it, put that right, and export again.`,
  ImportFailed: (f) => `Importing ${f.file} failed: ${closed(f.problem)} Nothing of it was kept. ${putRight}`,
  DrillImpossible: (f) =>
    `The drill could not be done: ${closed(f.problem)} This says nothing of the snapshot. ${putRight}`,
  DrillFailed: (f) =>
    `Snapshot ${f.snapshot} failed its drill: ${closed(drillFailureText[f.failure](f.detail))} ${f.lastLine === null ? 'Its console stayed empty.' : `The last that its console said: ‘${f.lastLine}’`} Look at the end of the console with \`umlsnap show ${f.job}\`.${neverBooted.includes(f.failure) ? bootsOtherwise : ''} The snapshot is unchanged; try an earlier one.`,
  FilesystemBad: (f) =>
    `Snapshot ${f.snapshot} is as it was captured, but what the guest had on its disk is not sound: ${closed(f.problem)} Look at the guest's own disk; \`umlsnap show ${f.snapshot}\` has what the checker said.`,
  SnapshotsBad: (f) =>
    [
      `${f.bad.length} of ${countText(f.looked, 'snapshot')} ${f.bad.length === 1 ? 'is' : 'are'} bad; look at each with \`umlsnap show\`:`,
      ...f.bad.map((one) => `  ${one.snapshot} in store ${one.store}: ${one.problem}`),
    ].join('\n'),
  ScratchUnusable: (f) =>
    `The scratch directory ${f.path} can't be used: ${closed(f.problem)} Put that right, or set \`scratch:\` to another directory.`,
  FilesImpossible: (f) =>
    `Files can't be taken out of the snapshot: ${closed(f.problem)} Put that right, or restore whole disks with \`umlsnap restore NAME --to DIRECTORY\`.`,
  NoSuchFile: (f) =>
    `${f.path} on ${f.disk} of ${f.snapshot}: ${closed(f.problem)} Look with \`umlsnap files ${f.snapshot}\`.`,
  InstallRefused: (f) =>
    `The agent was not installed in ${f.root}: ${f.path}: ${closed(f.problem)} ${putRight}`,
  NoDaemon: (f) => `No daemon answers for the state directory ${f.state}. Start one: umlsnap daemon.`,
  DaemonRuns: (f) =>
    `A daemon runs for the state directory ${f.state} already${f.pid === null ? '' : ` (pid ${f.pid})`}, and one is enough. Ask it with \`umlsnap ctl\`, and have it read a changed config with \`kill -HUP ${f.pid ?? 'PID'}\`; for another one set \`state:\` to another directory.`,
  DaemonGone: (f) =>
    `The daemon at ${f.socketPath} went away before it had answered: ${closed(f.problem)} What it had begun is undone: look with \`umlsnap status\` and \`umlsnap history\`.`,
  ControlUnusable: (f) =>
    `The control socket ${f.socketPath} can't be used: ${closed(f.problem)} The daemon takes no requests; its schedule runs all the same. Put that right, and restart it.`,
  DashboardUnusable: (f) =>
    `There is no dashboard: ${closed(f.problem)} The schedule runs all the same, and the control socket has the same pages. Put that right, and restart the daemon.`,
  NotListening: (f) =>
    `The daemon does not listen to requests of type ${f.number} (type=${f.type}): nothing was done. Change it with \`umlsnap ctl type=-255\`.`,
  UnknownRequest: (f) => `There is no request of type ${f.number}: nothing was done.`,
  KeepIsOn: () =>
    'The daemon keeps all snapshots (keep): none was removed. Change it with `umlsnap ctl nokeep`.',
  TooManyRequests: (f) =>
    `The daemon has ${countText(f.running, 'request')} under way, which is enough: nothing was done. Try again later.`,
  RequestIdTaken: (f) =>
    `A request with the id ${f.id} is under way already: nothing was done. Choose another id.`,
  NoSuchRequest: (f) => `No request with the id ${f.id} is under way.`,
  NotAllowed: (f) =>
    `Guest ${f.guest} may not ask for ${f.request}: the config's \`requests\` says what it may ask for.`,
  HistoryUnusable: (f) =>
    `The history ${f.path} can't be used: ${closed(f.problem)} Snapshots are safe in their stores${f.isFull ? `, and none can be added now. ${makeRoom}` : '; move the file away, and the list of them is rebuilt from there.'}`,
  HistoryLocked: (f) =>
    `The history ${f.path} was locked by another process for ${ms(f.waitedMs)}. Try again later.`,
  JobEnded: (f) => `Job ${f.job} has ended already (${f.status}); its record is not changed any more.`,
  Busy: (f) => `${f.what} is being worked on: ${f.holder}. Try again later, or use --wait.`,
  StateUnusable: (f) =>
    `The state directory ${f.path} can't be used: ${closed(f.problem)} ${f.isFull ? makeRoom : 'Set `state:` to a directory of ours.'}`,
  HookFailed: (f) =>
    `The hook \`${f.hook}\` of guest ${f.guest} (${f.command}) failed: ${closed(f.problem)} ${f.hook === 'before' ? untouched : toldBeside} Look at the hook, and run it by hand.`,
  AlertFailed: (f) =>
    `An alert could not be sent by ${f.by} to ${f.to}: ${closed(f.problem)} What it tells of stands in \`umlsnap history\`. Look at \`alerts:\` in the config.`,
  CommandFailed: (f) =>
    `${f.command} failed${f.exitCode === null ? '' : ` with ${f.exitCode}`}: ${closed(f.problem)}`,
  Interrupted: (f) => `Interrupted by ${f.signal}: everything begun was undone.`,
  Internal: (f) => `Internal error: ${closed(f.problem)} Please report it.`,
};

/** What to tell a person about a failure. */
export function explainError(error: unknown): string {
  const known = asUmlsnapError(error);
  return explain(known.code, known.facts);
}

/** Why something failed, for the text of another failure: what happened alone, for the advice is the other's to give. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof UmlsnapError)) return problemOf(error);
  const text = explainError(error);
  return /^.*?(?=[.!?] [A-Z`])/s.exec(text)?.[0] ?? text;
}

function explain<C extends ErrorCode>(code: C, facts: FactsByCode[C]): string {
  return texts[code](facts);
}

/** Anything thrown as an error of ours: what we did not foresee is `Internal`, and says what it was. */
export function asUmlsnapError(error: unknown): UmlsnapError {
  return error instanceof UmlsnapError
    ? error
    : new UmlsnapError('Internal', { problem: problemOf(error) }, error);
}
