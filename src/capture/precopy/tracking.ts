import { problemOf } from '../../errors.js';
import { Follower } from './follower.js';
import type { PrecopyDisk } from './precopy-disk.js';
import type { PrecopyFacts } from './precopy-order.js';
import type { TrackedDisk, WriteTracker } from './write-tracker.js';

export type StartTracker = (disks: TrackedDisk[]) => Promise<WriteTracker>;

/** The tracker can't be trusted, and nothing else may take its place. */
export class TrackLost extends Error {}

/**
 * The guest's `go` comes right after a capture, or a lost one; until then nobody MUST be busy with the end of the tracing, which
 * holds up all CPUs.
 */
export const goComesWithinMs = 50;

/** The follower of the guest's writes as long as it can be trusted. Once it can't, it is given up for good. */
export class Tracking {
  /** By the guest, to the disks, as the tracker told us. */
  writtenBytes = 0;
  #follower: Follower | null = null;
  #problem: string | null = null;

  /** @param mayCompare whether the disks may be compared instead */
  constructor(
    private readonly facts: PrecopyFacts,
    private readonly mayCompare: boolean,
  ) {}

  /** @param startTracker null: nobody is to follow @throws TrackLost */
  async start(startTracker: StartTracker | null, disks: PrecopyDisk[]): Promise<void> {
    if (startTracker === null) return;
    try {
      this.#follower = new Follower(await startTracker(disks.map((disk) => this.#tracked(disk))));
    } catch (error) {
      this.giveUp(problemOf(error));
    }
  }

  /** Whoever follows the guest, after another look; null when the disks have to be compared. @throws TrackLost */
  follower(): Follower | null {
    const doubt = this.#follower?.follow() ?? this.#problem;
    if (doubt !== null) this.giveUp(doubt);
    return this.#follower;
  }

  /** As `follower`, without the look: in the pause a doubt is found by the last round itself. @throws TrackLost */
  followerInPause(): Follower | null {
    if (this.#problem !== null) this.giveUp(this.#problem);
    return this.#follower;
  }

  /** @throws TrackLost */
  giveUp(problem: string): void {
    const follower = this.#follower;
    this.#follower = null;
    this.#problem = problem;
    if (follower) setTimeout(() => follower.close(), goComesWithinMs);
    this.facts.tracker = 'compared';
    this.facts.trackerProblem = problem;
    if (!this.mayCompare) throw new TrackLost(problem);
  }

  /** Nobody needs to know of the guest's writes any more. */
  end(): void {
    const follower = this.#follower;
    this.#follower = null;
    follower?.close();
  }

  #tracked(disk: PrecopyDisk): TrackedDisk {
    const { device, sourceFd, sizeBytes, blocks } = disk;
    return {
      device,
      fd: sourceFd,
      sizeBytes,
      markWritten: (offset, length) => {
        this.writtenBytes += length;
        blocks.mark(offset, length);
      },
    };
  }
}
