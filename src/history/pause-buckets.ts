import type { RawBuilder } from 'kysely';
import { sql } from 'kysely';

/**
 * The classes by which pauses are counted: each up to and including its bound, in milliseconds; longer ones are in a last
 * class of their own. They stand in rows by their number: published bounds MUST never change.
 */
export const pauseBoundsMs = [
  1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000,
] as const;

/** The number of the class that a pause belongs to. */
export function pauseBucket(pausedMs: number): number {
  const found = pauseBoundsMs.findIndex((boundMs) => pausedMs <= boundMs);
  return found < 0 ? pauseBoundsMs.length : found;
}

/** The same, by the database. */
export function pauseBucketOf(pausedMs: RawBuilder<unknown>): RawBuilder<number> {
  const cases = pauseBoundsMs.map(
    (boundMs, bucket) => sql`when ${pausedMs} <= ${sql.lit(boundMs)} then ${sql.lit(bucket)}`,
  );
  return sql<number>`(case ${sql.join(cases, sql` `)} else ${sql.lit(pauseBoundsMs.length)} end)`;
}
