import { setTimeout as sleep } from 'node:timers/promises';
import { problemOf } from '../../errors.js';
import type { TrackedDisk, TrackerFacts, WriteTracker } from '../precopy/write-tracker.js';
import type { ForeignWriteMonitor } from './foreign-write-monitor.js';
import type { InstanceWatch } from './instance-settings.js';
import type { TraceReader } from './trace-reader.js';
import type { CallKind } from './tracked-calls.js';
import type { WriterThread } from './writer-thread.js';

const baselineLimitMs = 10_000;
const triesInARow = 50;
const settleLimitMs = 20;
const watchEveryMs = 100;

export interface FollowerParts {
  disks: TrackedDisk[];
  /** By the tracer's number of the thread. */
  threads: Map<number, WriterThread>;
  monitor: ForeignWriteMonitor;
  reader: TraceReader;
  watch: InstanceWatch;
  /** Closes all of these. */
  release(): void;
}

/** Follows the traced calls, and holds a doubt against itself as soon as one of them can have been missed. */
export class WriteFollower implements WriteTracker {
  readonly #parts: FollowerParts;
  readonly #threads: WriterThread[];
  #doubt: string | null = null;
  #isClosed = false;
  #marks = 0;
  #settledMarks = 0;
  #watchedMs = performance.now();
  #looks = 0;

  constructor(parts: FollowerParts) {
    this.#parts = parts;
    this.#threads = [...parts.threads.values()];
  }

  get facts(): TrackerFacts {
    const accountedBytes = this.#threads.reduce((sum, { account }) => sum + account.writtenBytes, 0);
    return { events: this.#parts.reader.events, accountedBytes };
  }

  /** Waits for a moment in which each thread rests: from there on its account is kept. */
  async openAccounts(): Promise<void> {
    const startedMs = performance.now();
    for (;;) {
      for (let tries = 0; tries < triesInARow; tries += 1) {
        if (this.#threads.every((thread) => this.#tryOpen(thread))) return;
      }
      if (performance.now() - startedMs > baselineLimitMs) {
        throw new Error('the guest never stopped writing for long enough to begin the accounts');
      }
      await sleep(1);
    }
  }

  #tryOpen(thread: WriterThread): boolean {
    const { account } = thread;
    if (account.isOpen) return true;
    if (!account.isKnown && thread.isElsewhere()) account.meet();
    const seen = this.#quietCount(thread);
    if ('problem' in seen) throw new Error(seen.problem);
    if (seen.wcharBytes === null || !account.isKnown) return false;
    account.open(seen.wcharBytes);
    return true;
  }

  /** The kernel's count for a thread that did nothing before, while and after it was read: it belongs to our sum. */
  #quietCount(thread: WriterThread): { wcharBytes: number | null } | { problem: string } {
    const { account } = thread;
    const before = this.#round();
    if (before !== null) return { problem: before };
    const { eventCount, isIdle } = account;
    if (!isIdle) return { wcharBytes: null };
    const count = thread.wcharBytes();
    const after = this.#round();
    if (after !== null) return { problem: after };
    return { wcharBytes: account.eventCount === eventCount && account.isIdle ? count : null };
  }

  follow(): string | null {
    return this.#step(() => this.#round() ?? this.#lookAround());
  }

  settle(): string | null {
    return this.#step(() => {
      const problem = this.#untilEven();
      this.#settledMarks = this.#marks;
      return problem;
    });
  }

  prove(): string | null {
    return this.#step(() => {
      const problem = this.#untilEven();
      if (problem !== null) return problem;
      return this.#marks === this.#settledMarks
        ? null
        : 'a disk was written while it should have stood still';
    });
  }

  confirm(): string | null {
    return this.#step(() => this.#parts.watch.look() ?? this.#descriptorProblem());
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#doubt ??= 'the tracking has ended';
    this.#parts.release();
  }

  /** A doubt stays, and whatever goes wrong is one. */
  #step(run: () => string | null): string | null {
    if (this.#doubt !== null) return this.#doubt;
    try {
      this.#doubt = run();
    } catch (error) {
      this.#doubt = problemOf(error);
    }
    return this.#doubt;
  }

  /** Marks until the accounts are even. The guest stands still: what is under way ends by itself. */
  #untilEven(): string | null {
    const startedMs = performance.now();
    for (;;) {
      const problem = this.#round();
      if (problem !== null) return problem;
      const uneven = this.#firstProblem((thread) => thread.accountProblem());
      if (uneven === null) return null;
      if (performance.now() - startedMs > settleLimitMs) return this.#parts.watch.look() ?? uneven;
    }
  }

  #round(): string | null {
    const { threads } = this.#parts;
    const round = this.#parts.reader.round((threadId, event) => threads.get(threadId)?.account.add(event));
    // What somebody did to the tracing says more than what came of it.
    if ('problem' in round) return this.#parts.watch.look() ?? round.problem;
    // After the buffers and before their events are gone through: no event may be of a descriptor that was opened unseen.
    const sight = this.#parts.monitor.look();
    if (sight.problem !== null) return sight.problem;
    if (sight.reopened) for (const thread of this.#threads) thread.forgetDescriptors();
    for (const thread of this.#threads) {
      let problem: string | null = null;
      const wrong = thread.account.advance(round.stamp, (call, args, result) => {
        problem ??= this.#take(thread, call, args, result);
      });
      if (problem !== null || wrong !== null) return problem ?? wrong;
    }
    return null;
  }

  #take(thread: WriterThread, call: CallKind, args: readonly number[], result: number): string | null {
    const effect = call.effect(args, result, (fd) => thread.kindOf(fd));
    if (effect.type === 'doubt') return effect.problem;
    if (effect.type === 'write') {
      this.#marks += 1;
      this.#parts.disks[effect.disk]?.markWritten(effect.offset, effect.length);
    }
    return null;
  }

  #descriptorProblem(): string | null {
    return this.#firstProblem((thread) => thread.descriptorProblem());
  }

  #firstProblem(look: (thread: WriterThread) => string | null): string | null {
    for (const thread of this.#threads) {
      const problem = look(thread);
      if (problem !== null) return problem;
    }
    return null;
  }

  /** What takes longer than a round is done now and then, one thing of each kind at a time. */
  #lookAround(): string | null {
    const nowMs = performance.now();
    if (nowMs - this.#watchedMs < watchEveryMs) return null;
    this.#watchedMs = nowMs;
    this.#looks += 1;
    const { watch, monitor } = this.#parts;
    return watch.look() ?? this.#descriptorProblem() ?? monitor.lookForMapping(this.#looks) ?? this.#audit();
  }

  /** While the guest runs an account can be checked only in a moment of rest, and need not be. */
  #audit(): string | null {
    const thread = this.#threads[this.#looks % this.#threads.length];
    if (thread === undefined) return null;
    const seen = this.#quietCount(thread);
    if ('problem' in seen) return seen.problem;
    return seen.wcharBytes === null ? null : thread.accountProblem(seen.wcharBytes);
  }
}
