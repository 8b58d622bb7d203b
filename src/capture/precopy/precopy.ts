import { fdatasync, ftruncateSync } from 'node:fs';
import { promisify } from 'node:util';
import { UmlsnapError } from '../../errors.js';
import { cloneFileBlocking } from '../../image/linux-calls.js';
import type { Stamp } from '../../image/open-disk.js';
import { makeHole } from '../../image/sparse-pass.js';
import type { Capture, CapturedDisks, CaptureFacts, CaptureProgress, Prediction } from '../capture.js';
import { capturedDisks, onDisk, requireUnchanged, stampOf } from '../capture-trouble.js';
import { findMapping, ImageSet } from '../tracing/image-holders.js';
import { Comparison } from './comparison.js';
import { HeldRest } from './held-rest.js';
import type { PrecopyDisk } from './precopy-disk.js';
import { RunningCopy } from './running-copy.js';
import { type Follower, type StartTracker, Tracking } from './tracking.js';
import type { ThreadData } from './work-thread.js';

export interface PrecopyPlan {
  guest: string;
  disks: PrecopyDisk[];
  /** Disk and copy share their blocks: what is written since is copied where it is traced, and all is shared in the pause where not. */
  sharesBlocks: boolean;
  bytesPerSecond: number | null;
  pauseTargetMs: number;
  /** null: nobody follows the guest's writes, for the reason `trackerProblem` if tracing was asked for. */
  startTracker: StartTracker | null;
  trackerProblem: string | null;
  /** Whether the disks may be compared, or shared, in the pause when tracing is in doubt. */
  mayDoWithout: boolean;
}

const datasync = promisify(fdatasync);
const armRounds = 30;
/** As long as it gets less: what a guest's sync has written at once may take a rate limit many seconds. */
const catchUpRounds = 40;
const catchUpRoundLimitMs = 500;
const maxFlushes = 5;
const shortFlushMs = 5;
/** Enough for each step to have run often. */
const warmUpTurns = 20;
const warmUpBytes = 64 * 1024;
const warmUpLimitMs = 100;
/** Each is shorter than the one before, as a guest writes more slowly than memory is copied. */
const takeAheadTurns = 8;
const shortTakeMs = 0.5;

/** Copies the disks of a running guest, or shares their blocks, and in the pause takes what it wrote meanwhile. */
export class Precopy implements Capture {
  readonly facts: CaptureFacts;
  readonly #plan: PrecopyPlan;
  readonly #threadData: ThreadData;
  readonly #tracking: Tracking;
  #running: RunningCopy | null = null;
  #comparison: Comparison | null = null;
  /** Copied by the main thread, and counted. */
  #urgentBytes = 0;
  readonly #rest = new HeldRest();
  /** Of each disk, when the pause began. */
  #before: Stamp[] = [];
  /** By what captures in the pause itself. */
  #captured: CapturedDisks = new Map();
  /** Whoever follows the guest in this pause; null: nobody, or it was not come so far. */
  #follower: Follower | null = null;

  constructor(plan: PrecopyPlan) {
    this.#plan = plan;
    this.#threadData = {
      disks: plan.disks.map((disk) => disk.forThread()),
      isBackground: true,
      bytesPerSecond: plan.bytesPerSecond,
      progress: new SharedArrayBuffer(8),
      nextChunk: new SharedArrayBuffer(4),
    };
    const untracked = plan.sharesBlocks ? null : 'compared';
    this.facts = factsAtStart(plan.startTracker === null ? untracked : 'traced', plan.trackerProblem);
    this.#tracking = new Tracking(plan.guest, this.facts, plan.mayDoWithout);
  }

  get isCheap(): boolean {
    return this.facts.tracker === 'traced';
  }

  get wantsHostSync(): boolean {
    return this.facts.tracker === null;
  }

  progress(): CaptureProgress {
    return this.#running?.progress() ?? { doneBytes: 0, totalBytes: 0 };
  }

  lookAtTracking(): void {
    this.#follow();
  }

  /** The tracker MUST stand before the first byte is copied, or the first block shared. */
  async arm(): Promise<void> {
    const { disks, sharesBlocks, startTracker, pauseTargetMs } = this.#plan;
    for (const disk of disks) onDisk(disk, () => makeHole(disk.targetFd, disk.sizeBytes));
    await this.#tracking.start(startTracker, disks);
    const follower = this.#follow();
    if (sharesBlocks && follower === null) return this.#shareAll();
    this.#running = await RunningCopy.start(disks, this.#threadData, this.#tracking, this.facts);
    const bulk = await this.#running.bulk(sharesBlocks ? 'clone' : 'bulk');
    // A disk that was cut has no data where there was some: that alone looks like a copy that is done.
    for (const disk of disks) stampOf(disk);
    const limits = { pauseTargetMs, maxRounds: armRounds };
    this.facts.converged = await this.#running.copyRounds([bulk], limits, Number.POSITIVE_INFINITY);
    if (this.#follow() !== null || sharesBlocks) return;
    await this.#running.comparePasses();
    await this.#startComparison();
  }

  async catchUp(roundsLimitMs: number | null): Promise<Prediction | null> {
    const { disks, pauseTargetMs, sharesBlocks } = this.#plan;
    for (const disk of disks) stampOf(disk);
    // What a pause that came to nothing has left is older than what is copied next.
    this.#rest.writeOut();
    const wantedRounds = Math.ceil((roundsLimitMs ?? Number.POSITIVE_INFINITY) / catchUpRoundLimitMs);
    const limits = { pauseTargetMs, maxRounds: Math.min(catchUpRounds, wantedRounds) };
    const hasConverged = (await this.#running?.copyRounds([], limits, catchUpRoundLimitMs)) ?? false;
    const follower = this.#follow();
    if (follower !== null) {
      // A guest that once outran the copy did so, though the urgent copying before a stop may have caught up with it since; one
      // that had no time to was outrun by nobody.
      if (roundsLimitMs === null) this.facts.converged &&= hasConverged;
      this.#warmUp(follower);
      this.#countUrgent();
    }
    if (this.#follow() !== null) return null;
    if (sharesBlocks) {
      await this.#flush();
      return null;
    }
    this.#requireNoMapping();
    return (await this.#startComparison()).predict(disks);
  }

  keepUp(limitMs: number): boolean {
    if (this.facts.tracker !== 'traced' || this.#follow() === null) return true;
    const untilMs = performance.now() + limitMs;
    const isInTime = () => performance.now() < untilMs;
    for (const disk of this.#plan.disks) disk.copyMarked(isInTime);
    this.#countUrgent();
    return isInTime();
  }

  takeAhead(): void {
    const rest = this.#rest;
    for (let turn = 1; turn <= takeAheadTurns && !rest.isHalfFull; turn++) {
      if (this.facts.tracker !== 'traced' || this.#follow() === null) return;
      const startedMs = performance.now();
      for (const disk of this.#plan.disks) disk.holdMarked(rest, () => !rest.isHalfFull);
      if (performance.now() - startedMs < shortTakeMs) break;
    }
    rest.makeReady();
    this.#countUrgent();
  }

  /** The order MUST stay: what the guest wrote last is marked before the marks are taken. */
  takeRest(): void {
    const { disks, sharesBlocks } = this.#plan;
    this.#follower = this.#tracking.followerInPause();
    this.#require(this.#follower?.settle() ?? null);
    this.#before = disks.map(stampOf);
    if (this.#follower !== null) {
      for (const disk of disks) disk.holdMarked(this.#rest);
      this.facts.pausedBytes = copiedBytesOf(disks) - this.#urgentBytes;
    } else if (sharesBlocks) {
      for (const disk of disks) onDisk(disk, () => cloneFileBlocking(disk.sourceFd, disk.targetFd));
    } else {
      // Its threads take long to start, and how long it takes nobody has predicted: that is what `catchUp` is for.
      if (this.#comparison === null)
        throw this.#tracking.lost('the comparison was not prepared before the stop');
      const { comparedBytes, writtenBytes } = this.#comparison.compareAll();
      this.facts.comparedBytes = comparedBytes;
      this.facts.pausedBytes = writtenBytes;
    }
  }

  /** The proof MUST come after the last byte was read, and the stamps after that. */
  prove(): void {
    const follower = this.#follower;
    if (follower !== null) {
      const doubt = follower.prove();
      this.facts.accountedBytes = follower.facts.accountedBytes;
      this.#require(doubt);
      this.#urgentBytes = copiedBytesOf(this.#plan.disks);
    }
    requireUnchanged(this.#plan.disks, this.#before);
    // Whoever touches a copy from now on has its stamp to answer to; where something is held for it, from then on.
    if (follower === null) this.#captured = capturedDisks(this.#plan.disks, this.#before);
  }

  finish(): CapturedDisks {
    const follower = this.#follower;
    // The next pause may be let go before it takes anything.
    this.#follower = null;
    if (follower === null) return this.#captured;
    this.#require(follower.confirm());
    this.facts.proof = 'held';
    this.#rest.writeOut();
    return capturedDisks(this.#plan.disks, this.#before);
  }

  end(): void {
    this.#tracking.end();
  }

  #follow(): Follower | null {
    const follower = this.#tracking.follower();
    if (follower === null && this.#plan.sharesBlocks) this.facts.tracker = null;
    return follower;
  }

  /** In the pause a doubt is the end of this capture: what takes the tracking's place has to be prepared. @throws TrackingLost */
  #require(doubt: string | null): void {
    if (doubt === null) return;
    this.facts.proof = 'failed';
    this.#rest.drop();
    this.#tracking.giveUp(doubt);
    this.#follow();
    throw this.#tracking.lost(doubt);
  }

  #countUrgent(): void {
    const urgentBytes = copiedBytesOf(this.#plan.disks);
    this.facts.precopiedBytes += urgentBytes - this.#urgentBytes;
    this.#urgentBytes = urgentBytes;
  }

  /**
   * Does while the guest runs what the pause will do, but the tracker's own last steps. Copies what is marked on the way, and always
   * something. It goes on for a while with a guest that writes so fast that this takes longer than the pause should: this thread,
   * unlike the one in the background, has the right of way.
   */
  #warmUp(follower: Follower): void {
    const { disks, pauseTargetMs } = this.#plan;
    const untilMs = performance.now() + warmUpLimitMs;
    const isInTime = () => performance.now() < untilMs;
    for (let turn = 0, isShort = false; isInTime() && !(isShort && turn >= warmUpTurns); turn++) {
      const startedMs = performance.now();
      follower.follow();
      for (const disk of disks) {
        stampOf(disk);
        disk.blocks.mark((turn % warmUpTurns) * warmUpBytes * 2, warmUpBytes);
        if (turn % 2 === 0) disk.copyMarked(isInTime);
        else disk.holdMarked(this.#rest, () => false);
      }
      this.#rest.writeOut();
      isShort = performance.now() - startedMs <= pauseTargetMs / 2;
    }
  }

  /**
   * Shares the blocks of the running guest's disks once, and lets go of them again: what the first time takes (code that was
   * never run, extents that were never read, pages that are dirty on the host) MUST NOT be taken from the pause.
   */
  #shareAll(): void {
    for (const disk of this.#plan.disks) {
      onDisk(disk, () => cloneFileBlocking(disk.sourceFd, disk.targetFd));
      ftruncateSync(disk.targetFd, 0);
    }
  }

  /**
   * A reflink first writes out what is dirty of the disk on the host. A guest at full speed makes that megabytes while they are
   * written: so again, as each time it is less, until it is little.
   */
  async #flush(): Promise<void> {
    for (let flushes = 1; flushes <= maxFlushes; flushes++) {
      const startedMs = performance.now();
      await this.syncOnHost();
      if (performance.now() - startedMs < shortFlushMs) return;
    }
  }

  async syncOnHost(): Promise<void> {
    for (const disk of this.#plan.disks) {
      await datasync(disk.sourceFd).catch((error: unknown) => onDisk(disk, () => throwIt(error)));
    }
  }

  /** The threads of a comparison take the place of the one that copied. */
  async #startComparison(): Promise<Comparison> {
    if (this.#comparison !== null) return this.#comparison;
    await this.#running?.end();
    this.#comparison = await Comparison.start(this.#threadData);
    return this.#comparison;
  }

  /** A comparison goes by the time stamps for what changes under it, and stores through a mapping don't touch these. @throws SourceChanged */
  #requireNoMapping(): void {
    for (const { guest, device, sourceFd } of this.#plan.disks) {
      const problem = findMapping(new ImageSet([{ fd: sourceFd }]));
      if (problem !== null) throw new UmlsnapError('SourceChanged', { guest, device, problem });
    }
  }
}

function throwIt(error: unknown): never {
  throw error;
}

function copiedBytesOf(disks: PrecopyDisk[]): number {
  return disks.reduce((sum, disk) => sum + disk.copiedBytes, 0);
}

/** Of a capture that has done nothing yet. */
export function factsAtStart(tracker: CaptureFacts['tracker'], trackerProblem: string | null): CaptureFacts {
  return {
    ...{ tracker, trackerProblem, precopiedBytes: 0, rounds: 0, converged: false },
    ...{ guestBytesPerSecond: null, copyBytesPerSecond: null },
    ...{ pausedBytes: null, comparedBytes: null, proof: null, accountedBytes: null },
  };
}
