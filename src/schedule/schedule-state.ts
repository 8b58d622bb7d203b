import type { HeldEntry, PlannedEntry } from './plan-tick.js';

export interface ScheduledEntry {
  /** Unique in the timetable: see `timetable.ts`. */
  name: string;
  /** node-cron expression that the config's check has accepted. */
  schedule: string;
  timezone: string;
  catchUp: boolean;
  jitterMs: number;
}

interface Entry {
  config: ScheduledEntry;
  /** undefined: not loaded yet. */
  lastSlot: Date | null | undefined;
  since: Date;
  /** The reason of a hold that is in force. */
  heldFor: string | null;
}

/** Which slots of each entry are dealt with, as far as the scheduler knows. */
export class ScheduleState {
  readonly #entries = new Map<string, Entry>();

  has(name: string): boolean {
    return this.#entries.has(name);
  }

  configs(): ScheduledEntry[] {
    return [...this.#entries.values()].map(({ config }) => config);
  }

  /** Entries that nothing is planned for, because `setLastSlot` was not called for them yet. */
  unloaded(): string[] {
    return [...this.#entries].filter(([, { lastSlot }]) => lastSlot === undefined).map(([name]) => name);
  }

  planned(): PlannedEntry[] {
    return [...this.#entries.values()].flatMap(({ config, lastSlot, since }) =>
      lastSlot === undefined ? [] : [{ ...config, lastSlot, since }],
    );
  }

  /** From when on the slots of an entry count of which none is dealt with yet. */
  since(name: string): Date | undefined {
    return this.#entries.get(name)?.since;
  }

  setLastSlot(name: string, lastSlot: Date | null): void {
    const entry = this.#entries.get(name);
    if (entry !== undefined) entry.lastSlot = lastSlot;
  }

  /** These entries and no others. One whose schedule has changed counts from now on: the past of the new one was never promised. */
  replaceEntries(entries: readonly ScheduledEntry[], now: Date): void {
    const known = new Map(this.#entries);
    this.#entries.clear();
    for (const config of entries) {
      const before = known.get(config.name);
      this.#entries.set(
        config.name,
        before === undefined ? newEntry(config, now) : changedEntry(before, config, now),
      );
    }
  }

  /** Takes the holds of this moment; returns those that are new. */
  setHeld(held: readonly HeldEntry[], now: Date): HeldEntry[] {
    const isNew = ({ name, reason }: HeldEntry) => this.#entries.get(name)?.heldFor !== reason;
    const newlyHeld = held.filter(isNew);
    const heldByName = new Map(held.map((one) => [one.name, one]));
    for (const [name, entry] of this.#entries) {
      const hold = heldByName.get(name);
      entry.heldFor = hold?.reason ?? null;
      if (hold?.action !== 'restart') continue;
      entry.lastSlot = null;
      entry.since = now;
    }
    return newlyHeld;
  }
}

function newEntry(config: ScheduledEntry, now: Date): Entry {
  return { config, lastSlot: undefined, since: now, heldFor: null };
}

function changedEntry(before: Entry, config: ScheduledEntry, now: Date): Entry {
  const isSameSchedule =
    before.config.schedule === config.schedule && before.config.timezone === config.timezone;
  if (isSameSchedule) return { ...before, config };
  const latest = Math.max(now.getTime(), before.lastSlot?.getTime() ?? 0);
  return { config, lastSlot: null, since: new Date(latest), heldFor: null };
}
