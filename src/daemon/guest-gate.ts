import type { RequestName } from '../config/request-names.js';
import type { Request } from '../control/request.js';
import { UmlsnapError } from '../errors.js';
import { type Bucket, fullBucket, type Rate, takeToken } from '../token-bucket.js';
import { parseGuestLine } from './guest-line.js';

/** Why a guest's line came to nothing. */
export type DropReason = 'malformed' | 'tooLong' | 'tooFast' | 'notAllowed';

export type Drops = Record<DropReason, number>;

export type GateDecision =
  /** No request at all: it may be for somebody else. */
  | { does: 'pass' }
  | { does: 'drop'; why: DropReason }
  /** Told to the guest, which is let in for other things. */
  | { does: 'refuse'; id: number; because: UmlsnapError }
  | { does: 'ask'; request: Request };

export const guestRate: Rate = { burst: 5, refillMs: 10_000 };
const logEveryMs = 60_000;
const noDrops: Drops = { malformed: 0, tooLong: 0, tooFast: 0, notAllowed: 0 };

/**
 * What one guest may ask of the daemon, and how often. Everything else is counted, and told in one line a minute. Holds no
 * timer and no text of the guest's: a flood costs a few additions a line.
 */
export class GuestGate {
  readonly #guest: string;
  #bucket: Bucket;
  #drops: Drops = { ...noDrops };
  #toldAtMs = Number.NEGATIVE_INFINITY;

  /** @param nowMs of a monotonic clock, here and below */
  constructor(guest: string, nowMs: number) {
    this.#guest = guest;
    this.#bucket = fullBucket(guestRate, nowMs);
  }

  /** Decides about one line that the guest wrote. */
  take(message: string, allowed: readonly RequestName[], nowMs: number): GateDecision {
    const line = parseGuestLine(this.#guest, message);
    if (line.is === 'other') return { does: 'pass' };
    if (line.is !== 'request') return this.#drop(line.is);
    // Whoever may ask for nothing is not answered either.
    if (allowed.length === 0) return this.#drop('notAllowed');
    const { taken, bucket } = takeToken(guestRate, this.#bucket, nowMs);
    this.#bucket = bucket;
    if (!taken) return this.#drop('tooFast');
    if (allowed.includes(line.name)) return { does: 'ask', request: line.request };
    this.#drops.notAllowed += 1;
    const because = new UmlsnapError('NotAllowed', { guest: this.#guest, request: line.name });
    return { does: 'refuse', id: line.request.id, because };
  }

  /**
   * What was dropped since the last time, once a minute; undefined when there is nothing to tell, or not yet.
   * @param hasMore whether there is something else for the same line
   */
  dropsToTell(nowMs: number, hasMore = false): Drops | undefined {
    const hasDrops = hasMore || Object.values(this.#drops).some((count) => count > 0);
    if (!hasDrops || nowMs - this.#toldAtMs < logEveryMs) return undefined;
    const drops = this.#drops;
    this.#drops = { ...noDrops };
    this.#toldAtMs = nowMs;
    return drops;
  }

  #drop(why: DropReason): GateDecision {
    this.#drops[why] += 1;
    return { does: 'drop', why };
  }
}
