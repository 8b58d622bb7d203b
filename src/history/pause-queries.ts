import type { Kysely, Transaction } from 'kysely';
import { UmlsnapError } from '../errors.js';
import { requireJob } from './job-queries.js';
import type { PauseEnd, PauseIntent, PauseRecord } from './records.js';
import { pauseRecord } from './rows.js';
import type { Tables } from './tables.js';
import { countPause } from './total-queries.js';

/** @throws NoSuchJob */
export async function insertPause(db: Transaction<Tables>, intent: PauseIntent): Promise<void> {
  await requireJob(db, intent.job);
  await db
    .insertInto('pauses')
    .values({
      pause: intent.pause,
      job: intent.job,
      guest: intent.guest,
      budget_ms: intent.budgetMs,
      intended_at: intent.intendedAt,
      paused_ms: null,
      ended_by: null,
      ended_at: null,
    })
    .execute();
}

/**
 * Closes a pause. The first end stands: whoever comes later (recover, after the guardian's own report) saw less of it.
 * @throws Internal when the pause was never intended
 */
export async function closePause(db: Transaction<Tables>, pause: string, end: PauseEnd): Promise<void> {
  const row = await db
    .selectFrom('pauses')
    .select(['ended_at', 'guest'])
    .where('pause', '=', pause)
    .executeTakeFirst();
  if (row === undefined)
    throw new UmlsnapError('Internal', { problem: `the pause ${pause} was never intended` });
  if (row.ended_at !== null) return;
  await db
    .updateTable('pauses')
    .set({ paused_ms: end.pausedMs, ended_by: end.endedBy, ended_at: end.endedAt })
    .where('pause', '=', pause)
    .execute();
  await countPause(db, { guest: row.guest, pausedMs: end.pausedMs });
}

export async function selectOpenPauses(db: Kysely<Tables>): Promise<PauseRecord[]> {
  const rows = await db
    .selectFrom('pauses')
    .selectAll()
    .where('ended_at', 'is', null)
    .orderBy('intended_at')
    .orderBy('pause')
    .execute();
  return rows.map(pauseRecord);
}
