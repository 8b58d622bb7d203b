import { setTimeout as sleep } from 'node:timers/promises';
import type { Capture } from '../capture/capture.js';
import type { DiskPair } from '../capture/capture-trouble.js';
import { Precopy } from '../capture/precopy/precopy.js';
import { PrecopyDisk } from '../capture/precopy/precopy-disk.js';
import { goComesWithinMs, type StartTracker } from '../capture/precopy/tracking.js';
import { WholeCopy } from '../capture/whole-copy.js';
import { toSentError, UmlsnapError } from '../errors.js';
import type { Readiness } from '../guest/dirty-state.js';
import { HostView } from '../guest/host-view.js';
import { dieWithParent } from '../image/linux-calls.js';
import { newBuffer } from '../image/sparse-pass.js';
import { BlockingConsole } from '../mconsole/blocking-console.js';
import { inRealtime, raisePriority } from '../priority.js';
import {
  type ArmOrder,
  type CaptureMessage,
  type CaptureOrder,
  catchUpLimitMs,
  firstDiskFd,
  type PauseOrder,
  type PauseResult,
  pageFd,
  type Tracking,
} from './capture-messages.js';
import { huntForCleanMoment } from './hunt.js';
import { pause, pauseRequests } from './pause.js';
import { PausePage } from './pause-page.js';
import { warmUpPause } from './warm-up-pause.js';

/**
 * The capture process: copies the disks while the guest runs, finds the moment to stop it, and pauses it. A process of its own, so that
 * it can be killed in the middle of a system call, and so that nobody else's work stands between `stop` and `go`. Its main thread only
 * follows the guest's writes, and pauses; all else is done by threads that never hold it up.
 */

const progressEveryMs = 250;
/** Enough for the engine to have compiled each step, and then to keep it. */
const turnsAtStart = 200;
const turnsBeforePause = 20;

// A terminal's Ctrl-C and a service manager's SIGTERM reach the whole group. It is the parent who decides what they mean.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {});
process.on('disconnect', () => process.exit());
process.once('message', (order: ArmOrder) => begin(order));

function begin(order: ArmOrder): void {
  dieWithParent();
  // In this order: a parent that died before the call above would not be noticed by it.
  if (process.ppid !== order.parentPid) process.exit();
  raisePriority();
  const child = new CaptureChild(order);
  process.on('message', (next: CaptureOrder) => void child.obey(next));
  void child.obey(order);
}

class CaptureChild {
  readonly #page = new PausePage(pageFd);
  readonly #order: ArmOrder;
  readonly #disks: DiskPair[];
  readonly #capture: Capture;
  #console: BlockingConsole | undefined;
  #host: HostView | undefined;

  constructor(order: ArmOrder) {
    this.#order = order;
    this.#disks = order.disks.map(({ device, sizeBytes }, index) => {
      const sourceFd = firstDiskFd + 2 * index;
      return { guest: order.guest, device, sizeBytes, sourceFd, targetFd: sourceFd + 1 };
    });
    this.#capture = captureOf(order, this.#disks);
  }

  /** One order at a time: the parent waits for the answer. Errors that are not foreseen are told as well. */
  async obey(order: CaptureOrder): Promise<void> {
    const capture = this.#capture;
    try {
      if (order.type === 'pause') return await this.#pause(order);
      if (order.type === 'arm') {
        // Before its writes are followed, which must not be held up.
        warmUpPause(turnsAtStart);
        await this.#whileTelling(capture.arm());
      } else await this.#whileTelling(this.#catchUp(null));
      send({ type: order.type === 'arm' ? 'armed' : 'caughtUp', facts: capture.facts });
    } catch (error) {
      // The guest was not stopped, and is not any more. Whatever else it may be is the guardian's to end.
      if (this.#page.read().stage === 'guarded') this.#page.enter('over');
      send({ type: 'failed', facts: capture.facts, error: toSentError(error) });
    }
  }

  async #pause(order: PauseOrder): Promise<void> {
    const { terms, main, huntMs } = order;
    const { guest } = this.#order;
    const capture = this.#capture;
    await this.#whileTelling(this.#catchUp(order.roundsLimitMs));
    this.#console ??= await BlockingConsole.open(order.socketPath);
    this.#host ??= new HostView(order);
    const [console, host] = [this.#console, this.#host];
    warmUpPause(turnsBeforePause);
    const { devices } = terms;
    const { readiness, figures } =
      huntMs === null
        ? stopAtOnce(console)
        : await this.#whileTelling(huntForCleanMoment({ guest, devices, console, host, capture, huntMs }));
    // A frozen guest is as clean as it gets.
    const wasLastTry = order.isLastTry || (readiness.type === 'busy' && !terms.isFrozen);
    const takenAt = new Date();
    // Nothing MUST come between: what was seen gets old.
    const acceptsDirty = wasLastTry && order.isContentWithCrash;
    const goesByFreeze = wasLastTry || terms.goesByFreeze;
    const run = () => {
      if (readiness.type === 'busy') capture.takeAhead();
      return pause(
        { main, console, host, page: this.#page, capture },
        { ...terms, readiness, acceptsDirty, goesByFreeze },
      );
    };
    // One that copies or compares the disks in the pause may take seconds, and others shall live meanwhile.
    const paused = capture.isCheap ? inRealtime(run) : run();
    const { facts } = capture;
    const { end, pausedMs, marks } = paused;
    if (end.type !== 'resumed' || pausedMs === null || marks === null) {
      const how = end.type === 'resumed' ? 'unresolved' : end.type;
      send({ type: 'broken', facts, how });
      if (how === 'unresolved') return;
    } else {
      const { look, isCaptured, error } = end;
      const kept = error === null ? this.#finish(isCaptured) : { disks: null, error: toSentError(error) };
      send({ ...{ type: 'paused', facts, takenAt, pausedMs, wasLastTry, figures, marks, look }, ...kept });
      if (kept.disks) setTimeout(() => capture.end(), goComesWithinMs);
    }
    console.forget();
  }

  /** The guest runs. */
  #finish(isCaptured: boolean): Pick<PauseResult, 'disks' | 'error'> {
    try {
      const disks = this.#capture.finish();
      return { disks: isCaptured ? disks : null, error: null };
    } catch (error) {
      return { disks: null, error: toSentError(error) };
    }
  }

  async #catchUp(roundsLimitMs: number | null): Promise<void> {
    const { guest, budgetMs } = this.#order;
    const prediction = await this.#inTime(this.#capture.catchUp(roundsLimitMs));
    if (prediction === null || prediction.predictedMs <= budgetMs) return;
    throw new UmlsnapError('PredictedPauseOverBudget', { guest, ...prediction, budgetMs, method: 'precopy' });
  }

  /** @throws CaptureFailed for a guest that outruns a capture for so long */
  async #inTime<T>(work: Promise<T>): Promise<T> {
    const limit = new AbortController();
    const { guest } = this.#order;
    const device = this.#disks.map((disk) => disk.device).join(', ');
    const problem = `catching up with what the guest writes took over ${catchUpLimitMs / 1000} s`;
    const late = sleep(catchUpLimitMs, undefined, { signal: limit.signal }).then(() => {
      throw new UmlsnapError('CaptureFailed', { guest, device, problem });
    });
    return await Promise.race([work, late]).finally(() => limit.abort());
  }

  /** Tells how far the work is, and ends early when the tracking is lost for good. */
  async #whileTelling<T>(work: Promise<T>): Promise<T> {
    const capture = this.#capture;
    let timer: NodeJS.Timeout | undefined;
    const lost = new Promise<never>((_, reject) => {
      timer = setInterval(() => {
        send({ type: 'progress', progress: capture.progress(), facts: capture.facts });
        try {
          capture.lookAtTracking();
        } catch (error) {
          reject(error);
        }
      }, progressEveryMs);
    });
    try {
      return await Promise.race([work, lost]);
    } finally {
      clearInterval(timer);
    }
  }
}

function stopAtOnce(console: BlockingConsole): { readiness: Readiness; figures: Record<string, unknown> } {
  console.bindAhead(pauseRequests);
  return { readiness: { type: 'busy' }, figures: {} };
}

/** Buffers are made with it: nothing is allocated during the pause. */
function captureOf(order: ArmOrder, disks: DiskPair[]): Capture {
  if (order.method === 'copy') return new WholeCopy(disks);
  const { guest, tracking, bytesPerSecond, pauseTargetMs } = order;
  const buffer = newBuffer();
  return new Precopy({
    ...{ guest, bytesPerSecond, pauseTargetMs },
    disks: disks.map((disk) => new PrecopyDisk(disk, buffer)),
    sharesBlocks: order.method === 'reflink',
    startTracker: trackerOf(tracking),
    trackerProblem: tracking.type === 'untraced' ? tracking.problem : null,
    mayDoWithout: tracking.type === 'untraced' || tracking.mayDoWithout,
  });
}

function trackerOf(tracking: Tracking): StartTracker | null {
  if (tracking.type === 'untraced') return null;
  const { instancePath, writers, guestPids, bufferKib } = tracking;
  const options = { instancePath, writers, guestPids, ...(bufferKib === undefined ? {} : { bufferKib }) };
  return async (disks) => {
    // What is not traced does without the memory that this takes.
    const { startTracedTracker } = await import('../capture/tracing/traced-tracker.js');
    return startTracedTracker({ ...options, disks });
  };
}

function send(message: CaptureMessage): void {
  process.send?.(message);
}
