import type { FileHandle } from 'node:fs/promises';
import { problemOf, UmlsnapError } from '../../errors.js';
import type { ArmedCapture, CapturedDisk } from '../capture.js';
import { withTargets } from '../capture-targets.js';
import { errorOfWord } from '../disk-word.js';
import { killOnAbort } from '../kill-on-abort.js';
import { createTraceInstance, type TraceInstance } from '../tracing/trace-instance.js';
import type { PrecopyFacts, PrecopyOrder } from './precopy-order.js';
import { type Answer, PrecopyProcess } from './precopy-process.js';
import type { ChildTracking } from './precopy-words.js';

/**
 * Copies the disks while the guest runs, and follows what it writes meanwhile: for minutes, until little is left for the pause or
 * it gets no less. What is left is told by `facts()`. Not durable when the capture is done: fsync comes after `go`.
 * @throws CaptureFailed, SourceChanged, TrackingLost, or the reason of the order's signal; then no target is left
 */
export async function armPrecopy(order: PrecopyOrder): Promise<ArmedCapture> {
  const { guest, disks, signal } = order;
  signal.throwIfAborted();
  const { tracking, instance } = await prepareTracking(order);
  try {
    return await withTargets(guest, disks, (targets) => arm(order, tracking, targets, instance), signal);
  } catch (error) {
    // A stale instance is removed by the next job; why there is none of this one is what matters now.
    await instance?.remove().catch(() => {});
    throw error;
  }
}

async function arm(
  order: PrecopyOrder,
  tracking: ChildTracking,
  targets: FileHandle[],
  instance: TraceInstance | null,
): Promise<ArmedCapture> {
  const precopy = new ArmedPrecopy(order, targets, instance);
  try {
    await precopy.arm(tracking);
    return precopy;
  } catch (error) {
    await precopy.endChild();
    throw error;
  }
}

/** @throws TrackingLost when there is to be no tracing, and comparing is not wanted */
async function prepareTracking({
  guest,
  tracking,
}: PrecopyOrder): Promise<{ tracking: ChildTracking; instance: TraceInstance | null }> {
  if (tracking.by === 'comparing') return { tracking: { by: 'comparing', problem: null }, instance: null };
  try {
    const instance = await createTraceInstance();
    return { tracking: { ...tracking, instancePath: instance.path }, instance };
  } catch (error) {
    const problem = problemOf(error);
    if (!tracking.mayCompare) throw new UmlsnapError('TrackingLost', { guest, problem }, error);
    return { tracking: { by: 'comparing', problem }, instance: null };
  }
}

class ArmedPrecopy implements ArmedCapture {
  readonly method = 'precopy';
  readonly #order: PrecopyOrder;
  readonly #targets: FileHandle[];
  readonly #instance: TraceInstance | null;
  readonly #process: PrecopyProcess;
  #facts: PrecopyFacts | null = null;

  constructor(order: PrecopyOrder, targets: FileHandle[], instance: TraceInstance | null) {
    this.#order = order;
    this.#targets = targets;
    this.#instance = instance;
    this.#process = new PrecopyProcess(order, targets, ({ facts, progress }) => {
      this.#facts = facts;
      // Before the disks were looked through it says only that it lives.
      if (progress.totalBytes > 0) order.onProgress?.(progress);
    });
  }

  async arm(tracking: ChildTracking): Promise<void> {
    const word = await this.#wait(this.#order.signal, () => this.#process.arm(this.#order, tracking));
    if (word.is !== 'armed') throw this.#failureOf(word);
  }

  async catchUp(signal: AbortSignal, roundsLimitMs: number | null = null): Promise<void> {
    const word = await this.#wait(signal, () => this.#process.catchUp(roundsLimitMs));
    if (word.is !== 'caughtUp') throw this.#failureOf(word);
    const { guest, budgetMs } = this.#order;
    if (word.comparison === null || word.comparison.predictedMs <= budgetMs) return;
    throw new UmlsnapError('PredictedPauseOverBudget', {
      guest,
      ...word.comparison,
      budgetMs,
      method: 'precopy',
    });
  }

  async run(signal: AbortSignal): Promise<Map<string, CapturedDisk>> {
    const word = await this.#wait(signal, () => this.#process.capture());
    if (word.is === 'done') return word.disks;
    throw this.#failureOf(word);
  }

  facts(): Record<string, unknown> {
    return { ...this.#facts };
  }

  async dispose(): Promise<void> {
    // First of all: its descriptors keep the trace instance busy.
    await this.endChild();
    await Promise.all(this.#targets.map((target) => target.close()));
    // A capture is no worse for an instance that somebody else looks into: every later start tries to remove it, and tells of it.
    await this.#instance?.remove().catch(() => {});
  }

  endChild(): Promise<void> {
    return this.#process.end();
  }

  async #wait(signal: AbortSignal, work: () => Promise<Answer>): Promise<Answer> {
    const word = await killOnAbort(signal, this.#process.kill, work);
    if ('facts' in word) this.#facts = word.facts;
    return word;
  }

  #failureOf(word: Answer): UmlsnapError {
    const { guest } = this.#order;
    if (word.is === 'lost') return new UmlsnapError('TrackingLost', { guest, problem: word.problem });
    return errorOfWord(guest, word);
  }
}
