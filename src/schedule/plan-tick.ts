import { createHash } from 'node:crypto';
import { nextSlot, slotsBetween } from './cron-slots.js';
import { isGlobalEntry } from './timetable.js';

/** What is due now: decided from the clock and what has run, without doing any of it. */

export interface PlannedEntry {
  /** Unique in the timetable: see `timetable.ts`. */
  name: string;
  /** node-cron expression that the config's check has accepted. */
  schedule: string;
  timezone: string;
  catchUp: boolean;
  jitterMs: number;
  /** All slots up to and including this one are dealt with. null: none ever was. */
  lastSlot: Date | null;
  /** From when the schedule counts, where there is no last slot. */
  since: Date;
}

export interface DueRun {
  name: string;
  slot: Date;
  trigger: 'schedule' | 'catchUp';
}

/** Slots that passed without a run of their own, up to and including `upTo`. */
export interface MissedSlots {
  name: string;
  /** `maxCountedSlots` stands for that many or more. */
  slots: number;
  upTo: Date;
  reason: string;
}

/** An entry whose slots the clock puts out of reach: `hold` waits for the clock, `restart` begins anew from now. */
export interface HeldEntry {
  name: string;
  action: 'hold' | 'restart';
  reason: string;
}

export interface TickPlan {
  /** To be started now, in this order; never more than there is room for. */
  due: DueRun[];
  /** Due as well, without room: to be handed in again as `waiting`. */
  waiting: DueRun[];
  missed: MissedSlots[];
  held: HeldEntry[];
  /** When there is something to do again, if nothing ends before. */
  next: Date | null;
}

export interface TickInput {
  now: Date;
  entries: readonly PlannedEntry[];
  /** Names of entries with a job at work. */
  running: ReadonlySet<string>;
  waiting: readonly DueRun[];
  /** How many jobs may be at work at the same time, apart from global ones. */
  concurrency: number;
}

export const maxCountedSlots = 1000;
/** Later than this a run is a catch-up. Twice the scheduler's longest sleep: a busy host makes nothing a catch-up. */
export const onTimeMs = 60_000;
/** A last slot that lies further ahead was recorded under a clock gone wrong: waiting for it could take decades. */
const longestHoldMs = 48 * 3_600_000;

/**
 * What the scheduler has to do at `now`. However many slots of an entry have passed, it runs once, for the newest. One
 * that was due and found no room stays due, in the order of the slots, and is no catch-up for having waited. A global
 * job takes no room: it may last for hours, and backups MUST NOT wait for it.
 */
export function planTick({ now, entries, running, waiting, concurrency }: TickInput): TickPlan {
  const waitingByName = new Map(waiting.map((run) => [run.name, run]));
  const plan: TickPlan = { due: [], waiting: [], missed: [], held: [], next: null };
  const runs: DueRun[] = [];
  const wakeUps: number[] = [];
  for (const entry of entries) {
    // An entry at work is looked at when its job has ended; what came due meanwhile is then seen as what it is, late.
    if (running.has(entry.name)) continue;
    const alreadyDue = waitingByName.get(entry.name);
    const decision = alreadyDue === undefined ? decide(entry, now) : { run: alreadyDue };
    if (decision.run !== undefined) runs.push(decision.run);
    if (decision.missed !== undefined) plan.missed.push(decision.missed);
    if (decision.held !== undefined) plan.held.push(decision.held);
    if (decision.wakeUp !== undefined) wakeUps.push(decision.wakeUp.getTime());
  }
  runs.sort((a, b) => a.slot.getTime() - b.slot.getTime() || (a.name < b.name ? -1 : 1));
  const ofGuests = runs.filter(({ name }) => !isGlobalEntry(name));
  const room = Math.max(0, concurrency - [...running].filter((name) => !isGlobalEntry(name)).length);
  plan.waiting = ofGuests.slice(room);
  plan.due = runs.filter((run) => !plan.waiting.includes(run));
  if (wakeUps.length > 0) plan.next = new Date(wakeUps.reduce((a, b) => Math.min(a, b)));
  return plan;
}

interface Decision {
  run?: DueRun;
  missed?: MissedSlots;
  held?: HeldEntry;
  wakeUp?: Date;
}

function decide(entry: PlannedEntry, now: Date): Decision {
  const from = entry.lastSlot ?? entry.since;
  if (from > now) return holdOrRestart(entry.name, from, now);
  const slots = slotsBetween(entry.schedule, entry.timezone, from, now, maxCountedSlots);
  const newest = slots.at(-1);
  const following = nextSlot(entry.schedule, entry.timezone, now);
  const wakeUp = following === null ? {} : { wakeUp: dueAt(entry, following) };
  if (newest === undefined) return wakeUp;

  const newestDueAt = dueAt(entry, newest);
  if (newestDueAt > now) return { wakeUp: newestDueAt };
  const isLate = now.getTime() - newestDueAt.getTime() > onTimeMs;
  if (isLate && !entry.catchUp) {
    const reason = 'passed without a run, and catchUp is off';
    return { missed: { name: entry.name, slots: slots.length, upTo: newest, reason }, ...wakeUp };
  }
  const run: DueRun = { name: entry.name, slot: newest, trigger: isLate ? 'catchUp' : 'schedule' };
  const newestMissed = slots.at(-2);
  if (newestMissed === undefined) return { run };
  const reason = `passed without a run; the run of ${newest.toISOString()} stands for them`;
  return { run, missed: { name: entry.name, slots: slots.length - 1, upTo: newestMissed, reason } };
}

/** The clock was set back: slots between now and `from` may have run already, and none MUST run twice. */
function holdOrRestart(name: string, from: Date, now: Date): Decision {
  const aheadMs = from.getTime() - now.getTime();
  if (aheadMs > longestHoldMs) {
    const reason = `its last slot, ${from.toISOString()}, lies too far in the future to be true: its schedule counts from now on`;
    return { held: { name, action: 'restart', reason } };
  }
  const reason = `the clock was set back behind its last slot: it waits until ${from.toISOString()}`;
  return { held: { name, action: 'hold', reason }, wakeUp: from };
}

/**
 * The slot put off by the entry's jitter: always by the same time for the same entry and slot, and never to where the
 * next slot is.
 */
function dueAt({ name, schedule, timezone, jitterMs }: PlannedEntry, slot: Date): Date {
  if (jitterMs === 0) return slot;
  const following = nextSlot(schedule, timezone, slot);
  const spanMs = Math.min(jitterMs, following === null ? jitterMs : following.getTime() - slot.getTime());
  const hash = createHash('sha256').update(`${name} ${slot.toISOString()}`).digest().readUInt32BE();
  return new Date(slot.getTime() + Math.floor((hash / 2 ** 32) * spanMs));
}
