import type { CaptureFacts, CaptureProgress } from '../capture.js';
import { dataBytesOf } from './comparison.js';
import {
  type ComparedPass,
  type ConvergenceLimits,
  decidePass,
  decideRound,
  type Round,
} from './converge.js';
import type { PrecopyDisk } from './precopy-disk.js';
import type { Tracking } from './tracking.js';
import { type ThreadData, type ThreadOrder, WorkThread } from './work-thread.js';

/** A rate of less than this says more about the system calls than about the copy. */
const telltaleBytes = 64 * 1024;

/** What is copied while the guest runs, by a thread that stays behind everybody else. */
export class RunningCopy {
  readonly #disks: PrecopyDisk[];
  readonly #data: ThreadData;
  readonly #thread: WorkThread;
  readonly #totalBytes: number;
  readonly #tracking: Tracking;
  readonly #facts: CaptureFacts;
  /** How fast what is left would be copied in the pause; null: not known. */
  #bytesPerSecond: number | null = null;

  /** @throws SourceChanged, CaptureFailed */
  static async start(
    disks: PrecopyDisk[],
    data: ThreadData,
    tracking: Tracking,
    facts: CaptureFacts,
  ): Promise<RunningCopy> {
    return new RunningCopy(disks, data, await WorkThread.start(data), tracking, facts);
  }

  private constructor(
    disks: PrecopyDisk[],
    data: ThreadData,
    thread: WorkThread,
    tracking: Tracking,
    facts: CaptureFacts,
  ) {
    this.#disks = disks;
    this.#data = data;
    this.#thread = thread;
    this.#tracking = tracking;
    this.#facts = facts;
    this.#totalBytes = disks.reduce((sum, disk) => sum + dataBytesOf(disk), 0);
  }

  progress(): CaptureProgress {
    const doneBytes = Number(Atomics.load(new BigInt64Array(this.#data.progress), 0));
    return { doneBytes, totalBytes: Math.max(doneBytes, this.#totalBytes) };
  }

  /** Everything, once, by copying or by sharing blocks. The tracker MUST stand before. @throws SourceChanged, CaptureFailed */
  bulk(type: 'bulk' | 'clone'): Promise<Round> {
    return this.#copy({ type });
  }

  /**
   * Copies what the guest has written again and again; ends early when the tracker is lost.
   * @returns whether it converged: what is left is small enough for the pause
   * @throws SourceChanged, CaptureFailed, TrackingLost
   */
  async copyRounds(
    before: Round[],
    { pauseTargetMs, maxRounds }: Pick<ConvergenceLimits, 'pauseTargetMs' | 'maxRounds'>,
    roundLimitMs: number,
  ): Promise<boolean> {
    const rounds = [...before];
    // A round at a low rate limit takes far longer than it should: it ends with a piece, and a piece may take seconds.
    const limits = { pauseTargetMs, maxRounds, maxElapsedMs: maxRounds * roundLimitMs };
    while (this.#tracking.follower() !== null) {
      const decision = decideRound(rounds, this.#leftBytes(), this.#bytesPerSecond, limits);
      if (decision.next === 'pause') return decision.because === 'smallEnough';
      rounds.push(await this.#copy({ type: 'round', limitMs: roundLimitMs }));
      this.#facts.rounds += 1;
    }
    return false;
  }

  /** Compares while the guest runs, so that less is left to be written in the pause. @throws SourceChanged, CaptureFailed */
  async comparePasses(): Promise<void> {
    const passes: ComparedPass[] = [];
    for (;;) {
      const decision = decidePass(passes);
      this.#facts.converged = decision.next === 'pause' && decision.because === 'smallEnough';
      if (decision.next === 'pause') return;
      Atomics.store(new Int32Array(this.#data.nextChunk), 0, 0);
      const answer = await this.#thread.ask({ type: 'compare', sampleMs: null });
      if (answer.type === 'compared') {
        passes.push(answer);
        this.#facts.precopiedBytes += answer.writtenBytes;
      }
      this.#facts.rounds += 1;
    }
  }

  /** Gives its memory back; only for when nothing is copied any more. */
  async end(): Promise<void> {
    await this.#thread.terminate();
  }

  #leftBytes(): number {
    return this.#disks.reduce((sum, disk) => sum + disk.blocks.markedBytes(), 0);
  }

  async #copy(order: ThreadOrder): Promise<Round> {
    const writtenBefore = this.#tracking.writtenBytes;
    const leftBefore = order.type === 'round' ? this.#leftBytes() : null;
    const startedMs = performance.now();
    const answer = await this.#thread.ask(order);
    const elapsedMs = performance.now() - startedMs;
    const { copiedBytes, busyMs } = answer.type === 'copied' ? answer : { copiedBytes: 0, busyMs: 0 };
    const follower = this.#tracking.follower();
    if (copiedBytes >= telltaleBytes) {
      this.#bytesPerSecond = (copiedBytes * 1000) / Math.max(busyMs, 0.001);
      this.#facts.copyBytesPerSecond = Math.round((copiedBytes * 1000) / elapsedMs);
      const written = this.#tracking.writtenBytes - writtenBefore;
      this.#facts.guestBytesPerSecond = follower ? Math.round((written * 1000) / elapsedMs) : null;
    }
    this.#facts.precopiedBytes += copiedBytes;
    const leftBytes = this.#leftBytes();
    // A first copy of everything takes no marks: whatever is marked after it came meanwhile.
    const outdatedBytes = leftBefore === null ? leftBytes : Math.max(0, leftBytes - leftBefore + copiedBytes);
    return { copiedBytes, elapsedMs, outdatedBytes };
  }
}
