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

export type Ration = keyof typeof rates;

export class Rations {
  readonly #buckets = new Map<Ration, Bucket>();

  /** Whether something is left of it. */
  has(ration: Ration): boolean {
    return this.#look(ration).taken;
  }

  /** Takes one of what is left. @returns false: nothing is */
  take(ration: Ration): boolean {
    const { taken, bucket } = this.#look(ration);
    this.#buckets.set(ration, bucket);
    return taken;
  }

  #look(ration: Ration): ReturnType<typeof takeToken> {
    const nowMs = performance.now();
    return takeToken(rates[ration], this.#buckets.get(ration) ?? fullBucket(rates[ration], nowMs), nowMs);
  }
}
