import { makeHole } from '../../image/sparse-pass.js';
import { findMapping, ImageSet } from '../tracing/image-holders.js';
import { Comparison } from './comparison.js';
import { KeepingUp } from './keeping-up.js';
import { copyLastRound, rehearseLastRound, stampsOf } from './last-round.js';
import type { PrecopyDisk } from './precopy-disk.js';
import type { PrecopyFacts, PrecopyProgress } from './precopy-order.js';
import { DiskTrouble, type PrecopyWord, type Prediction } from './precopy-words.js';
import { RunningCopy } from './running-copy.js';
import type { ThreadData } from './thread-words.js';
import { type StartTracker, Tracking } from './tracking.js';

export interface PrecopyPlan {
  disks: PrecopyDisk[];
  bytesPerSecond: number | null;
  pauseTargetMs: number;
  /** null: the disks are compared in the pause, for the reason `trackerProblem` if tracing was asked for. */
  startTracker: StartTracker | null;
  trackerProblem: string | null;
  mayCompare: boolean;
}

const armRounds = 30;
/** As long as it gets less: what a guest's sync has written at once may take a rate limit many seconds. */
const catchUpRounds = 40;
const catchUpRoundLimitMs = 500;

/** Copies the disks of a running guest, and in the pause what it wrote meanwhile. */
export class Precopy {
  readonly facts: PrecopyFacts;
  readonly #plan: PrecopyPlan;
  readonly #threadData: ThreadData;
  readonly #tracking: Tracking;
  #running: RunningCopy | null = null;
  #comparison: Comparison | null = null;
  #keepingUp: KeepingUp | null = null;
  /** Copied by the main thread, and counted. */
  #urgentBytes = 0;

  constructor(plan: PrecopyPlan) {
    this.#plan = plan;
    this.#threadData = {
      disks: plan.disks.map((disk) => disk.forThread()),
      isBackground: true,
      bytesPerSecond: plan.bytesPerSecond,
      progress: new SharedArrayBuffer(8),
      nextChunk: new SharedArrayBuffer(4),
    };
    this.facts = factsAtStart(plan);
    this.#tracking = new Tracking(this.facts, plan.mayCompare);
  }

  progress(): PrecopyProgress {
    return this.#running?.progress() ?? { doneBytes: 0, totalBytes: 0 };
  }

  /** A doubt is found in the middle of a long copy too: the guest is not traced for nothing. @throws TrackLost */
  lookAtTracking(): void {
    this.#tracking.follower();
  }

  /**
   * Copies everything, and again what was written meanwhile, until little is left or it goes on no more. The tracker MUST stand
   * before the first byte is copied.
   * @throws DiskTrouble, TrackLost
   */
  async arm(): Promise<void> {
    const { disks, startTracker, pauseTargetMs } = this.#plan;
    for (const disk of disks) makeHole(disk.targetFd, disk.sizeBytes);
    this.#running = await RunningCopy.start(disks, this.#threadData, this.#tracking, this.facts);
    await this.#tracking.start(startTracker, disks);
    const bulk = await this.#running.bulk();
    // A disk that was cut has no data where there was some: that alone looks like a copy that is done.
    for (const disk of disks) disk.lookAtSource();
    const limits = { pauseTargetMs, maxRounds: armRounds };
    this.facts.converged = await this.#running.copyRounds([bulk], limits, Number.POSITIVE_INFINITY);
    if (this.#tracking.follower() !== null) return;
    await this.#running.comparePasses();
    await this.#startComparison();
  }

  /**
   * Right before a stop.
   * @param roundsLimitMs null: as long as it gets less
   * @returns how long a comparison would take; null when none is needed, or there is nothing to compare
   * @throws DiskTrouble, TrackLost
   */
  async catchUp(roundsLimitMs: number | null): Promise<Prediction | null> {
    const { disks, pauseTargetMs } = this.#plan;
    this.#endKeepingUp();
    for (const disk of disks) disk.lookAtSource();
    const wantedRounds = Math.ceil((roundsLimitMs ?? Number.POSITIVE_INFINITY) / catchUpRoundLimitMs);
    const limits = { pauseTargetMs, maxRounds: Math.min(catchUpRounds, wantedRounds) };
    const hasConverged = (await this.#running?.copyRounds([], limits, catchUpRoundLimitMs)) ?? false;
    const follower = this.#tracking.follower();
    // A guest that once outran the copy did so, though the urgent copying before a stop may have caught up with it since.
    if (follower !== null) {
      // One that had no time to was outrun by nobody.
      if (roundsLimitMs === null) this.facts.converged &&= hasConverged;
      rehearseLastRound(disks, follower, pauseTargetMs);
    }
    const trusted = this.#tracking.follower();
    if (trusted === null) {
      requireNoMapping(disks);
      return (await this.#startComparison()).predict(disks);
    }
    this.#keepingUp = new KeepingUp(disks, trusted);
    return null;
  }

  /** The pause. @throws DiskTrouble, TrackLost */
  async capture(): Promise<PrecopyWord> {
    const { disks } = this.#plan;
    this.#endKeepingUp();
    const follower = this.#tracking.followerInPause();
    if (follower === null) return this.#captureByComparing();
    const copiedBefore = copiedBytesOf(disks);
    const result = copyLastRound(disks, follower);
    this.facts.pausedBytes = copiedBytesOf(disks) - copiedBefore;
    this.facts.accountedBytes = follower.facts.accountedBytes;
    if (result.is === 'captured') {
      this.facts.proof = 'held';
      return { is: 'done', facts: this.facts, disks: result.disks };
    }
    this.facts.proof = 'failed';
    this.#tracking.giveUp(result.problem);
    return { is: 'lost', facts: this.facts, problem: result.problem };
  }

  /** After the pause: what follows the guest slows it down a little. */
  end(): void {
    this.#tracking.end();
  }

  /** @throws DiskTrouble that was met while keeping up */
  #endKeepingUp(): void {
    const keepingUp = this.#keepingUp;
    this.#keepingUp = null;
    keepingUp?.end();
    const urgentBytes = copiedBytesOf(this.#plan.disks);
    this.facts.precopiedBytes += urgentBytes - this.#urgentBytes;
    this.#urgentBytes = urgentBytes;
  }

  /** The threads of a comparison take the place of the one that copied. */
  async #startComparison(): Promise<Comparison> {
    if (this.#comparison !== null) return this.#comparison;
    await this.#running?.end();
    this.#comparison = await Comparison.start(this.#threadData);
    return this.#comparison;
  }

  async #captureByComparing(): Promise<PrecopyWord> {
    const { disks } = this.#plan;
    const comparison = this.#comparison;
    // Its threads take long to start, and how long it takes nobody has predicted: that is what `catchUp` is for.
    if (comparison === null) {
      return { is: 'lost', facts: this.facts, problem: 'the comparison was not prepared before the stop' };
    }
    const before = disks.map((disk) => disk.lookAtSource());
    const { comparedBytes, writtenBytes } = await comparison.compareAll();
    const captured = stampsOf(disks, before);
    this.facts.comparedBytes = comparedBytes;
    this.facts.pausedBytes = writtenBytes;
    return { is: 'done', facts: this.facts, disks: captured };
  }
}

/**
 * A comparison goes by the time stamps for what changes under it, and stores through a mapping don't touch these.
 * @throws DiskTrouble
 */
function requireNoMapping(disks: PrecopyDisk[]): void {
  for (const { device, sourceFd } of disks) {
    const problem = findMapping(new ImageSet([{ fd: sourceFd }]));
    if (problem !== null) throw new DiskTrouble({ is: 'changed', device, problem });
  }
}

function copiedBytesOf(disks: PrecopyDisk[]): number {
  return disks.reduce((sum, disk) => sum + disk.copiedBytes, 0);
}

function factsAtStart({ startTracker, trackerProblem }: PrecopyPlan): PrecopyFacts {
  return {
    tracker: startTracker === null ? 'compared' : 'traced',
    trackerProblem,
    precopiedBytes: 0,
    rounds: 0,
    converged: false,
    guestBytesPerSecond: null,
    copyBytesPerSecond: null,
    pausedBytes: null,
    comparedBytes: null,
    proof: null,
    accountedBytes: null,
  };
}
