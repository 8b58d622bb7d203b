import { beforeAll, describe, expect, test } from 'vitest';
import { applyKeepPolicy } from '../../src/retention/apply-keep-policy.js';
import type { RetentionCandidate } from '../../src/retention/candidate.js';
import type { PreviousSweep } from '../../src/retention/clock-doubt.js';
import type { KeepPolicy } from '../../src/retention/keep-policy.js';
import { roundsOr, tellCampaign } from '../support/rounds.js';

const hour = 3_600_000;
const day = 24 * hour;
const policy: KeepPolicy = {
  ...{ last: 3, hourly: 24, daily: 7, weekly: 4, monthly: 12, yearly: 2, withinMs: 2 * hour },
};

/** A guest that is backed up every hour, swept after each backup, under a clock that a test can set. */
class Guest {
  stored: RetentionCandidate[] = [];
  warnings: string[] = [];
  lost: string[] = [];
  #previous: (Omit<PreviousSweep, 'elapsedMs'> & { trueMs: number; boot: number }) | null = null;
  clockErrorMs = 0;
  boot = 0;

  /** @param trueMs the time; the guest's host sees `trueMs + clockErrorMs` */
  constructor(
    public trueMs: number,
    readonly timezone: string,
  ) {}

  /** The same guest, to try something else with. */
  copy(): Guest {
    const copy = new Guest(this.trueMs, this.timezone);
    copy.stored = [...this.stored];
    copy.#previous = this.#previous;
    return copy;
  }

  get now(): Date {
    return new Date(this.trueMs + this.clockErrorMs);
  }

  backUp(): void {
    const takenAt = this.now.toISOString();
    this.stored.push({ snapshot: `debian@${takenAt}`, takenAt, pinned: false, good: true });
    this.sweep();
  }

  sweep(clockIsRight = false): void {
    const previous = this.#previous && {
      ...this.#previous,
      elapsedMs: this.#previous.boot === this.boot ? this.trueMs - this.#previous.trueMs : null,
    };
    const { now, timezone } = this;
    const plan = applyKeepPolicy(this.stored, policy, { now, timezone, previous, clockIsRight });
    const removed = new Set(plan.remove.map(({ snapshot }) => snapshot));
    this.lost.push(...removed);
    this.stored = this.stored.filter(({ snapshot }) => !removed.has(snapshot));
    this.warnings = plan.warnings;
    if (plan.remember === null) return;
    this.#previous = { ...plan.remember, sweptAt: now.toISOString(), trueMs: this.trueMs, boot: this.boot };
  }

  hours(count: number): void {
    for (let done = 0; done < count; done++) {
      this.trueMs += hour;
      this.backUp();
    }
  }

  get times(): number[] {
    return this.stored.map(({ takenAt }) => Date.parse(takenAt)).sort((a, b) => b - a);
  }

  /** When they were taken, `2026-11-21 03:15` on a wall in the guest's zone: of its first 7 characters, the months that have one. */
  walls(length = 16): string[] {
    const wall = { timeZone: this.timezone, dateStyle: 'short', timeStyle: 'short' } as const;
    const { format } = new Intl.DateTimeFormat('sv-SE', wall);
    return [...new Set(this.times.map((time) => format(time).slice(0, length)))];
  }
}

/** Half hours, quarters, none, the ends of the day: a whole year in each, as far as a campaign asks for them. */
const furtherZones = [
  ...['Australia/Lord_Howe', 'America/St_Johns', 'Asia/Kathmandu', 'Pacific/Kiritimati', 'UTC'],
  ...['America/Los_Angeles', 'Pacific/Chatham', 'Asia/Kolkata', 'Africa/Casablanca', 'America/Santiago'],
  'Pacific/Pago_Pago',
];

describe('a year of hourly snapshots', () => {
  // Lord Howe's clock changes by half an hour, on the 4th of April and the 3rd of October.
  type Window = [zone: string, from: number, days: number, lastDay: string];
  test.each<Window>([
    ['Europe/Rome', Date.UTC(2026, 0, 1, 0, 30), 366, '2026-03-31'],
    ['Australia/Lord_Howe', Date.UTC(2026, 2, 20, 0, 30), 50, '2026-03-31'],
    ['Australia/Lord_Howe', Date.UTC(2026, 8, 20, 0, 30), 50, '2026-09-30'],
    ...furtherZones
      .slice(0, roundsOr(1) - 1)
      .map((zone): Window => [zone, Date.UTC(2026, 0, 1, 0, 30), 366, '2026-03-31']),
  ])(
    'in %s from %i for %i days, over the changes of the clock, always has the last 24 hours, 7 days and all months, and stays small',
    (timezone, from, days, lastDay) => {
      const guest = new Guest(from, timezone);
      guest.backUp();
      for (let done = 1; done <= days * 24; done++) {
        guest.hours(1);
        // Real hours: none is missing where a wall clock skips one or shows it twice.
        const isGapless = guest.times.slice(0, 24).every((time, ago) => time === guest.trueMs - ago * hour);
        if (!isGapless || guest.warnings.length > 0)
          expect.fail(`hour ${done}: ${guest.warnings} ${guest.times}`);
        if (done % 24 === 0) {
          expect(guest.stored.length).toBeLessThanOrEqual(3 + 31 + 7 + 4 + 12 + 2);
          expect(guest.walls(10).length).toBeGreaterThanOrEqual(Math.min(7, done / 24));
          const month = guest.now.getUTCMonth() - new Date(from).getUTCMonth();
          if (done <= 365 * 24) expect(guest.walls(7).length).toBeGreaterThanOrEqual(Math.min(month, 12));
        }
      }
      // Each month's is its last hour on the wall there: kept when taken, and not lost to a later sweep.
      const ofThatMonth = guest.walls().filter((shown) => shown.startsWith(lastDay.slice(0, 7)));
      expect(ofThatMonth).toEqual([expect.stringContaining(`${lastDay} 23:`)]);
      tellCampaign({ 'hours swept': days * 24 });
    },
    300_000,
  );
});

describe('fault 56: a clock that jumps under hourly snapshots', () => {
  const start = Date.UTC(2026, 5, 1, 0, 30);
  const old = new Guest(start, 'Europe/Rome');
  beforeAll(() => old.hours(40 * 24));
  const to2100 = (guest: Guest) => Date.UTC(2100, 0, 1) - guest.trueMs;
  const jumps: [string, errorOf: (guest: Guest) => number, boots: number, warning: RegExp][] = [
    // And seven minutes, since no two snapshots can have the same name.
    ['a day ahead', () => day + 7 * 60_000, 0, /leapt ahead/],
    ['a day back', () => -day - 7 * 60_000, 0, /set back/],
    ['to 1970', (guest) => -guest.trueMs, 0, /set back/],
    ['to 2100', to2100, 0, /leapt ahead/],
    ['to 2100 across a restart, which nothing tells the length of', to2100, 1, /leapt ahead.*restarted/],
  ];

  test.each(jumps)(
    '%s, for ten hours: nothing is removed meanwhile, each sweep warns, and afterwards nothing is missing',
    (_, errorOf, boots, warning) => {
      const guest = old.copy();
      guest.boot += boots;
      guest.clockErrorMs = errorOf(guest);
      for (let done = 0; done < 10; done++) {
        guest.hours(1);
        expect(guest.warnings).toEqual([expect.stringMatching(warning)]);
      }
      expect(guest.lost).toEqual([]);
      guest.clockErrorMs = 0;
      guest.hours(30);
      // A person looks, and says that it is right now; what went by the wrong clock into the future stays.
      guest.sweep(true);
      guest.hours(1);
      expect(guest.warnings).toEqual([]);
      const hours = new Set(guest.times.map((time) => Math.floor(time / hour)));
      for (let ago = 0; ago < 24; ago++) expect(hours).toContain(Math.floor(guest.trueMs / hour) - ago);
      // Of before the jump, what the rules ask for: three days at the least lie between.
      expect(guest.walls(10).length).toBeGreaterThanOrEqual(7);
    },
  );

  test('back and forth by a second or an hour, as clocks do, is no reason to warn', () => {
    const guest = old.copy();
    for (const errorMs of [1000, 0, hour, 0.5 * hour, hour, 0]) {
      guest.clockErrorMs = errorMs;
      guest.trueMs += 1.5 * hour;
      guest.backUp();
      expect(guest.warnings).toEqual([]);
    }
  });
});

test('a time zone that is changed in the config leaves each day of the new zone with a snapshot that had one, and takes no more than the rules do', () => {
  const rome = new Guest(Date.UTC(2026, 0, 1, 0, 30), 'Europe/Rome');
  rome.hours(60 * 24);
  for (const zone of ['Pacific/Kiritimati', 'America/Los_Angeles', 'Asia/Kathmandu']) {
    const moved = new Guest(rome.trueMs, zone);
    moved.stored = [...rome.stored];
    const [days, months] = [moved.walls(10).slice(0, 7), moved.walls(7)];
    moved.sweep();
    expect(moved.walls(10)).toEqual(expect.arrayContaining(days));
    expect(moved.walls(7)).toEqual(months);
    expect(moved.times.slice(0, 24)).toEqual(rome.times.slice(0, 24));
    expect(moved.warnings).toEqual([]);
  }
});
