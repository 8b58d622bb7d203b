import { type Bucket, fullBucket, type Rate, takeToken } from '../../token-bucket.js';

/**
 * What all who are not logged in get together, so that the rest of our time is for those who are: pages and metrics without a
 * token, metrics with theirs, and wrong tokens. Login links and sessions are in nobody's power to use up.
 */
const rates = {
  read: { burst: 40, refillMs: 250 },
  scrape: { burst: 40, refillMs: 250 },
  tries: { burst: 20, refillMs: 1000 },
} satisfies Record<string, Rate>;

export type RateLimit = keyof typeof rates;

export class RateLimits {
  readonly #buckets = new Map<RateLimit, Bucket>();

  /** Whether something is left of it. */
  has(limit: RateLimit): boolean {
    return this.#look(limit).taken;
  }

  /** Takes one of what is left. @returns false: nothing is */
  take(limit: RateLimit): boolean {
    const { taken, bucket } = this.#look(limit);
    this.#buckets.set(limit, bucket);
    return taken;
  }

  #look(limit: RateLimit): ReturnType<typeof takeToken> {
    const nowMs = performance.now();
    return takeToken(rates[limit], this.#buckets.get(limit) ?? fullBucket(rates[limit], nowMs), nowMs);
  }
}
