import { UmlsnapError } from '../errors.js';
import {
  consistencyOf,
  countersLacking,
  type DirtyState,
  isClean,
  parseDirtyState,
  type Readiness,
  writtenDisks,
} from '../guest/dirty-state.js';
import type { HostView } from '../guest/host-view.js';
import { drain, type IoLook, writtenBy } from '../guest/io-drain.js';
import { isConfirmedStopped } from '../guest/stop-probe.js';
import type { Answer, BlockingConsole, SentRequest } from '../mconsole/blocking-console.js';
import { textOfAnswer } from '../mconsole/commands.js';
import type { ProcessIdentity } from '../process-identity.js';
import { goUntilCounted } from './go-until-counted.js';
import { hostClockMs, type PausePage, refusedStop, roundToMicros } from './pause-page.js';

/** What captures the disks of a guest that stands still. */
export interface PausedCapture {
  /** Whether nothing is lost if what it took is thrown away: it may work before the guest is judged. */
  readonly isCheap: boolean;
  /** While the guest runs on, as its answer to `stop` takes its time. @throws as `takeRest` */
  takeAhead(): void;
  /** Takes what is left. @throws CaptureFailed, SourceChanged, TrackingLost */
  takeRest(): void;
  /** After the host has confirmed that the guest still stands: that nothing was missed. @throws SourceChanged, TrackingLost */
  prove(): void;
}

/** How the guest is to be judged, and what is known of it before its stop. */
export interface PauseTerms {
  guest: string;
  devices: string[];
  budgetMs: number;
  /** More than one CPU: its other ones run on, and so a capture is at best what a power cut would leave. */
  isSmp: boolean;
  readiness: Readiness;
  isFrozen: boolean;
  /** After its first sync: what writes since then keeps it from being clean. */
  synced: DirtyState;
  /** Captures even what is not `synced`. */
  acceptsDirty: boolean;
  /** Captures what is `frozen` if the freeze turns out to have held. */
  goesByFreeze: boolean;
}

export interface PauseTools {
  main: ProcessIdentity;
  console: BlockingConsole;
  host: HostView;
  page: PausePage;
  capture: PausedCapture;
}

/** What the stopped guest's counters say. */
export interface Looked {
  dirty: DirtyState;
  /** As the guest's counters say it; that it was frozen besides is known only after its thaw. */
  consistency: 'synced' | 'crash';
  /** It is `frozen`, if the freeze turns out to have held: something else than its filesystems may have written, as its swap does. */
  isCleanFrozen: boolean;
  /** Devices that were written from the first sync to the stop. */
  written: string[];
}

/** On the host's monotonic clock (`hostClockMs`), when each step began. */
export interface PauseMarks {
  stop: number;
  check: number;
  capture: number | null;
  go: number;
  over: number;
}

export type PauseEnd =
  /** `isCaptured`: all of the disks, in a state that was asked for. */
  | { type: 'resumed'; look: Looked | null; isCaptured: boolean; error: unknown }
  /** Somebody else had resumed it before our `go`. */
  | { type: 'resumedByOthers' }
  | { type: 'gone' }
  /** It was stopped before, by somebody else, and was left so. */
  | { type: 'alreadyStopped' }
  /** There was no room for our `stop` in the guest's queue, as long as the budget. */
  | { type: 'neverSent' }
  /** The guardian ends it: no answer to `stop` or `go` tells us how the guest is. */
  | { type: 'unresolved' };

/** What a stopped guest answers takes it microseconds; one that is silent for so long, and for half of what is left, is given up. */
const answerLimitMs = 1000;
/** Of the budget: what is not done before is told by its own reason, and not by the guardian that cuts it. */
const guardiansShare = 0.1;
/** A guest whose queue is full takes more as soon as it reads. */
const queueRetryMs = 1;
const nobodysBell = new Int32Array(new SharedArrayBuffer(4));
/** Its `stop`, three questions, and two `go`. */
export const pauseRequests = 6;

/**
 * The pause, from `stop` to `go`: one synchronous function, in which nothing else is done and nobody is told. Its sockets MUST be
 * bound, its descriptors open and its code warm before, and the guardian MUST be set; it takes over whatever is not ended here within
 * the budget. The only requests that go to a stopped guest are `sysrq` and `proc` of an allow-list: `config X=…` and `remove`
 * would let it run (uml-facts, fact 6).
 */
export function pause(
  tools: PauseTools,
  terms: PauseTerms,
): { end: PauseEnd; pausedMs: number | null; marks: PauseMarks | null } {
  const { console, page, main } = tools;
  const marks: PauseMarks = { stop: hostClockMs(), check: 0, capture: null, go: 0, over: 0 };
  const nothing = { pausedMs: null, marks: null };

  // stop
  const stopped = stoppedOrUnresolved(tools, terms.budgetMs);
  if (stopped !== 'stopped') return { end: { type: stopped }, ...nothing };
  marks.check = hostClockMs();

  let end: PauseEnd;
  try {
    end = { type: 'resumed', ...checkAndCapture(tools, terms, marks), error: null };
  } catch (error) {
    end = { type: 'resumed', look: null, isCaptured: false, error };
  }

  // go
  marks.go = hostClockMs();
  const over = resumedOrUnresolved(console, page, main);
  marks.over = hostClockMs();
  if (over === 'unresolved') return { end: { type: over }, ...nothing };
  if (over !== 'resumed') return { end: { type: over }, pausedMs: null, marks };
  return { end, pausedMs: roundToMicros(marks.over - marks.check), marks };
}

/** What keeps us from asking the guest does not keep the guardian: a pause MUST end by one of the two, whatever fails here. */
function stoppedOrUnresolved(tools: PauseTools, budgetMs: number) {
  try {
    return stop(tools, budgetMs);
  } catch {
    return 'unresolved' as const;
  }
}

function resumedOrUnresolved(console: BlockingConsole, page: PausePage, main: ProcessIdentity) {
  try {
    const over = goUntilCounted(console, main);
    if (over !== 'unresolved') page.enter('over');
    return over;
  } catch {
    return 'unresolved' as const;
  }
}

function stop(
  { console, page, capture }: PauseTools,
  budgetMs: number,
): 'stopped' | 'alreadyStopped' | 'neverSent' | 'unresolved' {
  const untilMs = performance.now() + budgetMs;
  let request: SentRequest;
  for (;;) {
    // In this order: from the first on the guardian ends what we don't, and its budget begins.
    page.write({ stage: 'stopping', sentAtMs: hostClockMs(), stoppedAtMs: 0 });
    request = console.send('stop');
    if (request.answer?.type !== 'full') break;
    // It was not sent, and can't take effect: there is nothing to end.
    if (page.read().stage === 'takenOver') return 'unresolved';
    if (performance.now() >= untilMs) {
      page.enter('over');
      return 'neverSent';
    }
    page.enter('guarded');
    Atomics.wait(nobodysBell, 0, 0, queueRetryMs);
  }
  const meanwhile = () => {
    try {
      capture.takeAhead();
    } catch {
      // What is wrong shows again when the rest is taken; the guest may stand still by now.
    }
    return true;
  };
  console.wait([request], performance.now() + budgetMs, { meanwhile });
  const { answer } = request;
  const stoppedAtMs = readStopAnswer(answer);
  if (stoppedAtMs === null) {
    console.hearLate('stop', (late) => page.noteStopped(readStopAnswer(late) ?? 0));
    return 'unresolved';
  }
  if (page.read().stage === 'takenOver') {
    page.noteStopped(stoppedAtMs);
    return 'unresolved';
  }
  if (stoppedAtMs === refusedStop) {
    page.enter('over');
    return 'alreadyStopped';
  }
  page.write({ stage: 'stopped', sentAtMs: page.read().sentAtMs, stoppedAtMs });
  return 'stopped';
}

/** When the guest has stopped; null where the answer does not say that it has. */
function readStopAnswer(answer: Answer | null): number | null {
  if (answer?.type === 'refused' && answer.text === 'Already stopped') return refusedStop;
  // The empty text is what kernels before 2.6.19 answer.
  return answer?.type === 'ok' && ['stopped', ''].includes(answer.text) ? hostClockMs() : null;
}

/**
 * What happens while the guest stands still: the host confirms; the sync as documented, drained, how dirty; the last ranges, or the
 * reflink, the comparison, the copy; the host confirms; the proof.
 * @throws GuestNotStopped, GuestNotAnswering, ReplyMalformed, IoNotDrained, SourceChanged, CaptureFailed, TrackingLost
 */
export function checkAndCapture(
  { console, host, capture }: PauseTools,
  terms: PauseTerms,
  marks: PauseMarks,
): { look: Looked; isCaptured: boolean } {
  const deadlineMs = performance.now() + terms.budgetMs - (hostClockMs() - marks.stop);
  requireStopped(host, terms, console.socketPath, 'check');
  const firstLook = host.look();
  // The documented order: the sync first. It writes nothing now, but is queued: the guest syncs right after `go`.
  const asked = ['sysrq s', 'proc vmstat', 'proc diskstats'].map((command) => console.send(command));
  requireDrained(host, firstLook, terms, deadlineMs - terms.budgetMs * guardiansShare);
  let look: Looked | null = null;
  if (!terms.acceptsDirty && !capture.isCheap) {
    look = judge(console, asked, terms, deadlineMs);
    if (!isWanted(look, terms)) return { look, isCaptured: false };
  }
  marks.capture = hostClockMs();
  const writtenBefore = writtenBy(host);
  capture.takeRest();
  look ??= judge(console, asked, terms, deadlineMs);
  requireStopped(host, terms, console.socketPath, 'capture');
  if (writtenBefore === undefined || writtenBy(host) !== writtenBefore) {
    const { guest, devices } = terms;
    const problem = "the guest's I/O helper wrote to it";
    throw new UmlsnapError('SourceChanged', { guest, device: devices.join(', '), problem });
  }
  capture.prove();
  return { look, isCaptured: isWanted(look, terms) };
}

function isWanted(look: Looked, { acceptsDirty, goesByFreeze }: PauseTerms): boolean {
  return acceptsDirty || look.consistency === 'synced' || (goesByFreeze && look.isCleanFrozen);
}

/** What the console says is the guest's word; this is the host's. */
function requireStopped(host: HostView, { guest }: PauseTerms, socketPath: string, phase: string): void {
  if (isConfirmedStopped(host)) return;
  throw new UmlsnapError('GuestNotStopped', { guest, pid: host.mainPid, socketPath, phase });
}

function requireDrained(host: HostView, firstLook: IoLook, { guest }: PauseTerms, deadlineMs: number): void {
  const startedMs = performance.now();
  if (drain(host, deadlineMs, firstLook)) return;
  throw new UmlsnapError('IoNotDrained', { guest, waitedMs: performance.now() - startedMs });
}

/** What the guest has not written yet, which stands still with it. */
function judge(
  console: BlockingConsole,
  asked: SentRequest[],
  { isSmp, isFrozen, readiness, synced, devices }: PauseTerms,
  deadlineMs: number,
): Looked {
  const leftMs = deadlineMs - performance.now();
  const limitMs = Math.max(Math.min(answerLimitMs, leftMs), leftMs / 2, 1);
  console.wait(asked, performance.now() + limitMs);
  const [, pages = '', disks = ''] = asked.map((request) =>
    textOfAnswer(console.socketPath, request, limitMs),
  );
  const dirty = parseDirtyState(pages, disks, devices);
  if (!dirty) throw countersLacking(console.socketPath);
  const written = writtenDisks(devices, synced, dirty);
  const consistency = isSmp ? 'crash' : consistencyOf(dirty, readiness);
  return { dirty, consistency, isCleanFrozen: !isSmp && isFrozen && isClean(dirty), written };
}
