/** How often something may happen: `burst` times at once, and once more each `refillMs`. */
export interface Rate {
  burst: number;
  refillMs: number;
}

export interface Bucket {
  tokens: number;
  /** By a monotonic clock. */
  atMs: number;
}

export function fullBucket({ burst }: Rate, nowMs: number): Bucket {
  return { tokens: burst, atMs: nowMs };
}

/** The bucket after one more at `nowMs`, and whether there was a token for it. */
export function takeToken(
  { burst, refillMs }: Rate,
  { tokens, atMs }: Bucket,
  nowMs: number,
): { taken: boolean; bucket: Bucket } {
  const refilled = Math.min(burst, tokens + Math.max(0, nowMs - atMs) / refillMs);
  const taken = refilled >= 1;
  return { taken, bucket: { tokens: taken ? refilled - 1 : refilled, atMs: Math.max(atMs, nowMs) } };
}
