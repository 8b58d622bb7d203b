import type { Kysely, Migration } from 'kysely';
import { sql } from 'kysely';

const renamed = [
  ['sync', 'check'],
  ['quiesce', 'sync'],
] as const;

/**
 * A backup's phases are called what they do: its sync was `quiesce`, and its check of what is dirty, after the stop, `sync`. The
 * order is part of it: `sync` MUST be gone before `quiesce` becomes it.
 */
export const phaseNames: Migration = {
  async up(db: Kysely<unknown>): Promise<void> {
    const backups = sql`select job from jobs where kind in ('backup', 'dry-run')`;
    for (const [before, now] of renamed) {
      await sql`update phases set phase = ${now} where phase = ${before} and job in (${backups})`.execute(db);
      // As JSON.stringify writes it: within a string, its quotes would have backslashes before them.
      const [field, newField] = [`"phase":"${before}"`, `"phase":"${now}"`];
      await sql`update jobs set error = replace(error, ${field}, ${newField}), summary = replace(summary, ${field}, ${newField})
        where kind in ('backup', 'dry-run') and (error like ${`%${field}%`} or summary like ${`%${field}%`})`.execute(
        db,
      );
      // `quiesce: done after 3 ms`, and `GuestGone in quiesce: …`
      await sql`update job_log set text = ${now} || substr(text, ${before.length + 1})
        where text like ${`${before}: % after %`} and job in (${backups})`.execute(db);
      const [place, newPlace] = [` in ${before}: `, ` in ${now}: `];
      await sql`update job_log set text = replace(text, ${place}, ${newPlace})
        where level = 'error' and text like ${`%${place}%`} and job in (${backups})`.execute(db);
    }
  },
};
