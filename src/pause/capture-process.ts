import { type ChildProcess, fork } from 'node:child_process';
import type { FileHandle } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { CaptureDisk, CaptureFacts, CaptureMethod, CaptureProgress } from '../capture/capture.js';
import { withTargets } from '../capture/capture-targets.js';
import { createTraceInstance, type TraceInstance } from '../capture/tracing/trace-instance.js';
import { childEnvironment } from '../child-environment.js';
import { fromSentError, problemOf, UmlsnapError } from '../errors.js';
import type { IoTask } from '../guest/guest-processes.js';
import { processEntry } from '../process-entry.js';
import { type ProcessIdentity, readProcessStat } from '../process-identity.js';
import type {
  CaptureMessage,
  CaptureOrder,
  PauseBroken,
  PauseOrder,
  PauseResult,
  Tracking,
} from './capture-messages.js';
import { PausePage } from './pause-page.js';

export interface CaptureRequest {
  guest: string;
  disks: CaptureDisk[];
  method: CaptureMethod;
  /** Who follows the guest's writes while it runs; null: nobody. */
  tracing: {
    writers: IoTask[];
    /** Every process of the guest that has a disk open. */
    guestPids: number[];
    /** Whether the disks are compared, or shared, in the pause when tracing is in doubt; else the capture fails. */
    mayDoWithout: boolean;
    /** Of the trace buffer, for each CPU. */
    bufferKib?: number;
  } | null;
  /** Limits what is copied while the guest runs; null: no limit. */
  bytesPerSecond: number | null;
  /** What is left is small enough for the pause when copying it takes no longer. */
  pauseTargetMs: number;
  /** A comparison that would take longer is refused before the stop. */
  budgetMs: number;
  onProgress?: (progress: CaptureProgress) => void;
  signal: AbortSignal;
}

type Answer = Exclude<CaptureMessage, { type: 'progress' }>;

/** The child tells its progress several times a second while the guest runs, whatever its threads wait for. */
const silenceLimitSeconds = 30;
/** A killed process that still does not end sits in a system call of a dead disk. Nothing of ours depends on it. */
const endLimitMs = 2_000;
const stderrLimitChars = 2_000;

/** The capture process as the orchestrator sees it: it holds the disks and their copies, and is the only one that stops the guest. */
export class CaptureProcess {
  readonly identity: ProcessIdentity;
  readonly page: PausePage;
  #facts: CaptureFacts | null = null;
  readonly #request: CaptureRequest;
  readonly #targets: FileHandle[];
  readonly #instance: TraceInstance | null;
  readonly #child: ChildProcess;
  readonly #answers: Answer[] = [];
  #silentSeconds = 0;
  #death: UmlsnapError | undefined;
  #wake = () => {};

  /**
   * Copies the disks while the guest runs, or shares their blocks, and follows what it writes meanwhile: for minutes, until little is
   * left for the pause or it gets no less. Not durable when the capture is done: fsync comes after `go`.
   * @throws CaptureFailed, SourceChanged, TrackingLost, or the reason of the request's signal; then no target is left
   */
  static async arm(request: CaptureRequest): Promise<CaptureProcess> {
    const { guest, disks, signal } = request;
    signal.throwIfAborted();
    const { tracking, instance } = await prepareTracking(request);
    try {
      return await withTargets(
        guest,
        disks,
        async (targets) => {
          const capture = new CaptureProcess(request, targets, instance);
          try {
            await capture.#arm(tracking);
            return capture;
          } catch (error) {
            await capture.#end();
            capture.page.close();
            throw error;
          }
        },
        signal,
      );
    } catch (error) {
      // A stale instance is removed by the next job; why there is none of this one is what matters now.
      await instance?.remove().catch(() => {});
      throw error;
    }
  }

  private constructor(request: CaptureRequest, targets: FileHandle[], instance: TraceInstance | null) {
    this.#request = request;
    this.#targets = targets;
    this.#instance = instance;
    this.page = PausePage.make();
    // Descriptors, not names: what was checked is what is captured.
    const fds = request.disks.flatMap((disk, index) => [disk.sourceFd, targets[index]?.fd ?? -1]);
    this.#child = fork(processEntry('capture-child'), [], {
      stdio: ['ignore', 'ignore', 'pipe', 'ipc', this.page.fd, ...fds],
      // Carries bigints and maps.
      serialization: 'advanced',
      // Functions are compiled when they are loaded, not when the guest stands still.
      execArgv: ['--no-lazy'],
      // No NODE_OPTIONS of ours: what they load may take long, and a debugger would hold the child.
      env: childEnvironment(),
    });
    const stat = this.#child.pid === undefined ? undefined : readProcessStat(this.#child.pid);
    this.identity = { pid: stat?.pid ?? -1, startTicks: stat?.startTicks ?? 0 };
    this.#listen();
  }

  get method(): CaptureMethod {
    return this.#request.method;
  }

  /** Of a capture that begins while the guest runs, so far; null: it has not begun. */
  get facts(): CaptureFacts | null {
    return this.#facts;
  }

  /** While the guest runs: what can be done now is not left to the pause. @throws as `arm`, PredictedPauseOverBudget */
  async catchUp(signal: AbortSignal): Promise<void> {
    await this.#ask({ type: 'catchUp' }, signal);
  }

  /**
   * Has the guest stopped as soon as it is clean, captured, and resumed. Whoever calls has set a guardian; it ends the pause whenever
   * this ends without saying that it is over.
   * @throws before the stop: what hunting for a clean moment throws. CaptureFailed when the process has died.
   */
  async pause(order: Omit<PauseOrder, 'type'>, signal: AbortSignal): Promise<PauseResult | PauseBroken> {
    const answer = await this.#ask({ type: 'pause', ...order }, signal);
    if (answer.type === 'paused' || answer.type === 'broken') return answer;
    throw outOfTurn(answer);
  }

  /** Ends it and closes the targets. The files stay: they belong to the incoming copy. */
  async dispose(): Promise<void> {
    // First of all: its descriptors keep the trace instance busy.
    await this.#end();
    this.page.close();
    await Promise.all(this.#targets.map((target) => target.close()));
    // A capture is no worse for an instance that somebody else looks into: every later start tries to remove it, and tells of it.
    await this.#instance?.remove().catch(() => {});
  }

  async #arm(tracking: Tracking): Promise<void> {
    const { guest, method, disks, bytesPerSecond, pauseTargetMs, budgetMs, signal } = this.#request;
    const answer = await this.#ask(
      {
        ...{ type: 'arm', parentPid: process.pid, guest, method, tracking },
        ...{ bytesPerSecond, pauseTargetMs, budgetMs },
        disks: disks.map(({ device, sizeBytes }) => ({ device, sizeBytes })),
      },
      signal,
    );
    if (answer.type !== 'armed') throw outOfTurn(answer);
  }

  /**
   * Gives an order and waits for its answer, and no longer than the signal allows: then the child is killed rather than asked, since it
   * may be inside a system call or stopped. A child that is silent is stopped or hangs: ticks are counted, not time, as a machine
   * that slept is no child that did.
   */
  async #ask(order: CaptureOrder, signal: AbortSignal): Promise<Answer> {
    signal.throwIfAborted();
    this.#silentSeconds = 0;
    const silence = setInterval(() => {
      this.#silentSeconds += 1;
      if (this.#silentSeconds < silenceLimitSeconds || this.page.read().stage !== 'over') return;
      this.#died(`the capture process said nothing for ${silenceLimitSeconds} s`);
      this.#child.kill('SIGKILL');
    }, 1000);
    const wake = () => this.#wake();
    signal.addEventListener('abort', wake);
    try {
      // A channel that broke comes with the child's end, and that is what is told.
      this.#child.send(order, () => {});
      for (;;) {
        const answer = this.#answers.shift();
        if (answer) {
          this.#facts = answer.facts;
          if (answer.type === 'failed') throw fromSentError(answer.error);
          return answer;
        }
        if (signal.aborted) {
          // One that may have stopped the guest is the guardian's to end.
          if (this.page.read().stage === 'over') this.#child.kill('SIGKILL');
          throw signal.reason;
        }
        if (this.#death) throw this.#death;
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    } finally {
      clearInterval(silence);
      signal.removeEventListener('abort', wake);
    }
  }

  #listen(): void {
    const child = this.#child;
    let stderr = '';
    child.stderr?.on('data', (text: Buffer) => {
      stderr = (stderr + text.toString()).slice(-stderrLimitChars);
    });
    child.on('message', (message: CaptureMessage) => {
      this.#silentSeconds = 0;
      if (message.type !== 'progress') this.#answers.push(message);
      else {
        this.#facts = message.facts;
        // Before the disks were looked through it says only that it lives.
        if (message.progress.totalBytes > 0) this.#request.onProgress?.(message.progress);
      }
      this.#wake();
    });
    child.on('error', (error) => this.#died(`the capture process can't be started: ${error.message}`));
    child.once('exit', (code, signal) => {
      const how = `the capture process ended unexpectedly (${signal ?? `exit code ${code}`})`;
      this.#died(stderr === '' ? how : `${how}: ${stderr.trim()}`);
    });
  }

  #died(problem: string): void {
    const { guest, disks } = this.#request;
    const device = disks.map((disk) => disk.device).join(', ');
    this.#death ??= new UmlsnapError('CaptureFailed', { guest, device, problem });
    this.#wake();
  }

  /** Kills it and waits until it is gone, within reason. */
  async #end(): Promise<void> {
    const child = this.#child;
    if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
    const gone = new Promise((resolve) => void child.once('exit', resolve));
    child.kill('SIGKILL');
    const waiting = new AbortController();
    await Promise.race([gone, sleep(endLimitMs, undefined, { signal: waiting.signal })]).finally(() =>
      waiting.abort(),
    );
  }
}

/** @throws TrackingLost when there is to be no tracing, and nothing else may take its place */
async function prepareTracking({
  guest,
  tracing,
}: CaptureRequest): Promise<{ tracking: Tracking; instance: TraceInstance | null }> {
  if (tracing === null) return { tracking: { type: 'untraced', problem: null }, instance: null };
  try {
    const instance = await createTraceInstance();
    return { tracking: { type: 'traced', ...tracing, instancePath: instance.path }, instance };
  } catch (error) {
    const problem = problemOf(error);
    if (!tracing.mayDoWithout) throw new UmlsnapError('TrackingLost', { guest, problem }, error);
    return { tracking: { type: 'untraced', problem }, instance: null };
  }
}

function outOfTurn({ type }: Answer): UmlsnapError<'Internal'> {
  return new UmlsnapError('Internal', { problem: `the capture process said ${type} out of turn` });
}
