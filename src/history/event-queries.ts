import type { Kysely, Selectable, Transaction } from 'kysely';
import type { GuestEvent, GuestEventRecord, GuestEventType } from './records.js';
import type { EventsTable, Tables } from './tables.js';

export interface EventFilter {
  guest?: string;
  type?: GuestEventType;
  /** Only those that were recorded after this one. */
  after?: number;
  /** The newest so many. */
  limit: number;
}

/** Of each guest and type, so that one that talks a lot pushes out nobody else's words, nor that it has panicked. */
const keptEvents = 1000;

export async function insertEvent(db: Transaction<Tables>, event: GuestEvent): Promise<void> {
  const last = await db
    .selectFrom('events')
    .select(({ fn }) => fn.max('number').as('number'))
    .executeTakeFirst();
  const number = Number(last?.number ?? 0) + 1;
  await db
    .insertInto('events')
    .values({ number, ...event })
    .execute();
  const { guest, type } = event;
  const oldestKept = await db
    .selectFrom('events')
    .select('number')
    .where('guest', '=', guest)
    .where('type', '=', type)
    .orderBy('number', 'desc')
    .offset(keptEvents - 1)
    .limit(1)
    .executeTakeFirst();
  if (!oldestKept) return;
  await db
    .deleteFrom('events')
    .where('guest', '=', guest)
    .where('type', '=', type)
    .where('number', '<', oldestKept.number)
    .execute();
}

/** In the order in which they were recorded. */
export async function selectEvents(db: Kysely<Tables>, filter: EventFilter): Promise<GuestEventRecord[]> {
  const { guest, type, after, limit } = filter;
  let query = db.selectFrom('events').selectAll();
  if (guest !== undefined) query = query.where('guest', '=', guest);
  if (type !== undefined) query = query.where('type', '=', type);
  if (after !== undefined) query = query.where('number', '>', after);
  const rows = await query.orderBy('number', 'desc').limit(limit).execute();
  return rows.reverse().map(eventRecord);
}

/** The column holds only what our own inserts have put there. */
function eventRecord({ type, ...row }: Selectable<EventsTable>): GuestEventRecord {
  return { ...row, type: type as GuestEventType };
}
