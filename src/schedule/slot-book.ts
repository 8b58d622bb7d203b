import type { HeldGuest, PlannedGuest } from './plan-tick.js';

export interface ScheduledGuest {
  guest: string;
  /** node-cron expression that the config's check has accepted. */
  schedule: string;
  timezone: string;
  catchUp: boolean;
  jitterMs: number;
}

interface Entry {
  config: ScheduledGuest;
  /** undefined: not loaded yet. */
  lastSlot: Date | null | undefined;
  since: Date;
  /** The reason of a hold that is in force. */
  heldFor: string | null;
}

/** Which slots of each guest are dealt with, as far as the scheduler knows. */
export class SlotBook {
  readonly #entries = new Map<string, Entry>();

  has(guest: string): boolean {
    return this.#entries.has(guest);
  }

  configs(): ScheduledGuest[] {
    return [...this.#entries.values()].map(({ config }) => config);
  }

  /** Guests that nothing is planned for, because `setLastSlot` was not called for them yet. */
  unloaded(): string[] {
    return [...this.#entries].filter(([, { lastSlot }]) => lastSlot === undefined).map(([guest]) => guest);
  }

  planned(): PlannedGuest[] {
    return [...this.#entries.values()].flatMap(({ config, lastSlot, since }) =>
      lastSlot === undefined ? [] : [{ ...config, lastSlot, since }],
    );
  }

  /** From when on the slots of a guest count of which none is dealt with yet. */
  since(guest: string): Date | undefined {
    return this.#entries.get(guest)?.since;
  }

  setLastSlot(guest: string, lastSlot: Date | null): void {
    const entry = this.#entries.get(guest);
    if (entry !== undefined) entry.lastSlot = lastSlot;
  }

  /** These guests and no others. One whose schedule has changed counts from now on: the past of the new one was never promised. */
  replaceGuests(guests: readonly ScheduledGuest[], now: Date): void {
    const known = new Map(this.#entries);
    this.#entries.clear();
    for (const config of guests) {
      const before = known.get(config.guest);
      this.#entries.set(
        config.guest,
        before === undefined ? newEntry(config, now) : changedEntry(before, config, now),
      );
    }
  }

  /** Takes the holds of this moment; returns those that are new. */
  setHeld(held: readonly HeldGuest[], now: Date): HeldGuest[] {
    const isNew = ({ guest, reason }: HeldGuest) => this.#entries.get(guest)?.heldFor !== reason;
    const newlyHeld = held.filter(isNew);
    const heldByGuest = new Map(held.map((one) => [one.guest, one]));
    for (const [guest, entry] of this.#entries) {
      const hold = heldByGuest.get(guest);
      entry.heldFor = hold?.reason ?? null;
      if (hold?.action !== 'restart') continue;
      entry.lastSlot = null;
      entry.since = now;
    }
    return newlyHeld;
  }
}

function newEntry(config: ScheduledGuest, now: Date): Entry {
  return { config, lastSlot: undefined, since: now, heldFor: null };
}

function changedEntry(before: Entry, config: ScheduledGuest, now: Date): Entry {
  const isSameSchedule =
    before.config.schedule === config.schedule && before.config.timezone === config.timezone;
  if (isSameSchedule) return { ...before, config };
  const latest = Math.max(now.getTime(), before.lastSlot?.getTime() ?? 0);
  return { config, lastSlot: null, since: new Date(latest), heldFor: null };
}
