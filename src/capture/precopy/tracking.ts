import { problemOf, UmlsnapError } from '../../errors.js';
import type { CaptureFacts } from '../capture.js';
import type { PrecopyDisk } from './precopy-disk.js';
import type { TrackedDisk, TrackerFacts, WriteTracker } from './write-tracker.js';

export type StartTracker = (disks: TrackedDisk[]) => Promise<WriteTracker>;

/**
 * The guest's `go` comes right after a capture, or a lost one; until then nobody MUST be busy with the end of the tracing, which
 * holds up all CPUs.
 */
export const goComesWithinMs = 50;

const followEveryMs = 2;

/** Has a tracker follow the guest's writes, so that no buffer of the kernel's fills, and keeps its first doubt. */
export class Follower {
  #doubt: string | null = null;
  readonly #tracker: WriteTracker;
  readonly #timer: NodeJS.Timeout;

  constructor(tracker: WriteTracker) {
    this.#tracker = tracker;
    this.#timer = setInterval(() => this.follow(), followEveryMs);
  }

  get facts(): TrackerFacts {
    return this.#tracker.facts;
  }

  /** @returns why the tracker can't be trusted; null as long as it can */
  follow(): string | null {
    return this.#step(() => this.#tracker.follow());
  }

  settle(): string | null {
    return this.#step(() => this.#tracker.settle());
  }

  prove(): string | null {
    return this.#step(() => this.#tracker.prove());
  }

  confirm(): string | null {
    return this.#step(() => this.#tracker.confirm());
  }

  close(): void {
    clearInterval(this.#timer);
    this.#tracker.close();
  }

  /** A tracker that fails is one that can't be trusted. */
  #step(step: () => string | null): string | null {
    if (this.#doubt !== null) return this.#doubt;
    try {
      this.#doubt = step();
    } catch (error) {
      this.#doubt = `following the guest's writes failed: ${problemOf(error)}`;
    }
    if (this.#doubt !== null) clearInterval(this.#timer);
    return this.#doubt;
  }
}

/** The follower of the guest's writes as long as it can be trusted. Once it can't, it is given up for good. */
export class Tracking {
  /** By the guest, to the disks, as the tracker told us. */
  writtenBytes = 0;
  #follower: Follower | null = null;
  #problem: string | null = null;

  /** @param mayDoWithout whether the disks may be compared or shared in the pause instead */
  constructor(
    private readonly guest: string,
    private readonly facts: CaptureFacts,
    private readonly mayDoWithout: boolean,
  ) {}

  /** @param startTracker null: nobody is to follow @throws TrackingLost */
  async start(startTracker: StartTracker | null, disks: PrecopyDisk[]): Promise<void> {
    if (startTracker === null) return;
    try {
      this.#follower = new Follower(await startTracker(disks.map((disk) => this.#tracked(disk))));
    } catch (error) {
      this.giveUp(problemOf(error));
    }
  }

  /** Whoever follows the guest, after another look; null when nobody does. @throws TrackingLost */
  follower(): Follower | null {
    const doubt = this.#follower?.follow() ?? this.#problem;
    if (doubt !== null) this.giveUp(doubt);
    return this.#follower;
  }

  /** As `follower`, without the look: in the pause a doubt is found by the last round itself. @throws TrackingLost */
  followerInPause(): Follower | null {
    if (this.#problem !== null) this.giveUp(this.#problem);
    return this.#follower;
  }

  /** @throws TrackingLost */
  giveUp(problem: string): void {
    const follower = this.#follower;
    this.#follower = null;
    this.#problem = problem;
    if (follower) setTimeout(() => follower.close(), goComesWithinMs);
    if (!this.mayDoWithout) throw this.lost(problem);
    // What takes its place is the precopy's affair.
    this.facts.tracker = this.facts.tracker === 'traced' ? 'compared' : this.facts.tracker;
    this.facts.trackerProblem = problem;
  }

  /** Nobody needs to know of the guest's writes any more. */
  end(): void {
    const follower = this.#follower;
    this.#follower = null;
    follower?.close();
  }

  lost(problem: string): UmlsnapError<'TrackingLost'> {
    return new UmlsnapError('TrackingLost', { guest: this.guest, problem });
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
