import fc from 'fast-check';
import { createTask } from 'node-cron';
import { describe, expect, test, vi } from 'vitest';
import { nextSlot, slotsBetween } from '../../src/schedule/cron-slots.js';

function slots(expression: string, timezone: string, from: string, to: string): string[] {
  return slotsBetween(expression, timezone, new Date(from), new Date(to), 1000).map(isoOf);
}

const next = (expression: string, timezone: string, after: string) =>
  isoOf(nextSlot(expression, timezone, new Date(after)));

function isoOf(date: Date | null): string {
  return date === null ? 'never' : date.toISOString().replace(/:00\.000Z$/, 'Z');
}

/** Which of them are on this day there: the time of each, in UTC. */
function timesOn(expression: string, timezone: string, day: string): string {
  const wall = new Intl.DateTimeFormat('sv-SE', { timeZone: timezone });
  const noonMs = Date.parse(`${day}T12:00Z`);
  const [from, to] = [-2, 2].map((days) => new Date(noonMs + days * 86_400_000).toISOString());
  const around = slots(expression, timezone, from ?? '', to ?? '');
  const onDay = around.filter((slot) => wall.format(new Date(slot)) === day);
  return onDay.map((slot) => slot.slice(11, 16)).join(' ');
}

/** What node-cron itself would do next, had it been asked at this moment. */
function nodeCronRuns(expression: string, timezone: string, at: Date, count: number): string[] {
  vi.useFakeTimers({ now: at, toFake: ['Date'] });
  const task = createTask(expression, () => undefined, { timezone });
  try {
    return task.getNextRuns(count).map(isoOf);
  } finally {
    void task.destroy();
    vi.useRealTimers();
  }
}

describe('on days on which no clock changes, the slots are node-cron’s', () => {
  const zones = ['UTC', 'Asia/Kolkata', 'Asia/Tokyo', 'America/Bogota', 'Pacific/Kiritimati', 'Africa/Lagos'];
  const instants = fc.date({ min: new Date('2015-01-01'), max: new Date('2099-01-01'), noInvalidDate: true });

  test.each([
    ...['15 3 * * *', '*/10 * * * * *', '7,37 22-2 * * *', '@daily', '0 */6 * * 1-5', '0 0 1,15 * 1'],
    ...['0 0 L * *', '0 0 L-3 * *', '0 9 15W * *', '0 9 1W,LW * *', '30 6 * * 1#2', '30 6 * * 5L'],
    ...['30 6 * * 0,7', '0 12 29 2 *', '0 12 * feb,jul mon,fri'],
  ])('%s', (expression) => {
    fc.assert(
      fc.property(instants, fc.constantFrom(...zones), (at, timezone) => {
        const found: string[] = [];
        for (let after: Date | null = at; after !== null && found.length < 3; ) {
          after = nextSlot(expression, timezone, after);
          found.push(isoOf(after));
        }
        expect(found).toEqual(nodeCronRuns(expression, timezone, at, 3));
      }),
      { numRuns: 40 },
    );
  });
});

/**
 * Where clocks change in 2026. Rome: forward on 29 March and back on 25 October, at 01:00Z. New York: forward on 8 March at 07:00Z,
 * back on 1 November at 06:00Z, when 01:00 to 02:00 comes again. Cairo: on 24 April, 00:00 is 01:00 at once. Lord Howe: on
 * 4 October, 02:00 is 02:30 at once, at 15:30Z.
 */
test.each<[title: string, ...slots: [zone: string, day: string, expression: string, times: string][]]>([
  [
    'a slot in the hour, or half hour, that is jumped over comes once, at the first instant after it',
    ['Europe/Rome', '2026-03-29', '30 2 * * *', '01:00'],
    ['America/New_York', '2026-03-08', '30 2 * * *', '07:00'],
    ['Australia/Lord_Howe', '2026-10-04', '10 2 * * *', '15:30'],
  ],
  [
    'a midnight that is jumped over belongs to its day, and comes once',
    ['Africa/Cairo', '2026-04-23', '0 0 * * *', '22:00'],
    ['Africa/Cairo', '2026-04-24', '0 0 * * *', '22:00'],
    ['Africa/Cairo', '2026-04-25', '0 0 * * *', '21:00'],
  ],
  [
    'several slots in the hour that is jumped over, and one right after it, are one',
    ['Europe/Rome', '2026-03-29', '0,20,40 2,3 * * *', '01:00 01:20 01:40'],
    ['America/New_York', '2026-03-08', '0,20,40 2,3 * * *', '07:00 07:20 07:40'],
  ],
  [
    'a slot in the hour that comes twice comes once, the first time',
    ['Europe/Rome', '2026-10-25', '30 2 * * *', '00:30'],
    ['America/New_York', '2026-11-01', '30 1 * * *', '05:30'],
  ],
  [
    'the slots outside of the change are where they are every day',
    ['Europe/Rome', '2026-03-29', '15 0,5 * * *', '23:15 03:15'],
    ['Europe/Rome', '2026-10-25', '15 0,5 * * *', '22:15 04:15'],
    ['America/New_York', '2026-03-08', '15 0,5 * * *', '05:15 09:15'],
    ['America/New_York', '2026-11-01', '15 0,5 * * *', '04:15 10:15'],
  ],
])('%s', (_, ...expected) => {
  for (const [zone, day, expression, times] of expected)
    expect(timesOn(expression, zone, day), `${zone} ${day}`).toBe(times);
});

test('who wakes up between the two times that an hour comes waits for the next day', () => {
  expect(next('30 2 * * *', 'Europe/Rome', '2026-10-25T01:00Z')).toBe('2026-10-26T01:30Z');
  expect(next('30 1 * * *', 'America/New_York', '2026-11-01T06:00Z')).toBe('2026-11-02T06:30Z');
});

describe.each(['Europe/Rome', 'America/New_York'])('over both changes in %s', (zone) => {
  const hoursApart = (found: string[]) =>
    found.slice(1).map((slot, i) => (Date.parse(slot) - Date.parse(found[i] ?? '')) / 3_600_000);

  test.each([
    ['2026-03-01', '2026-04-01'],
    ['2026-10-15', '2026-11-15'],
  ])('a schedule of every hour runs in each of the hours from %s to %s', (from, to) => {
    const found = slots('15 * * * *', zone, from, to);
    expect(found).toHaveLength(31 * 24);
    expect(new Set(hoursApart(found))).toEqual(new Set([1]));
  });

  test('every day of a year has its slot, and none has two', () => {
    const found = slots('30 2 * * *', zone, '2026-01-01T12:00Z', '2027-01-01T12:00Z');
    expect(found).toHaveLength(365);
    expect(Math.min(...hoursApart(found))).toBeGreaterThanOrEqual(23);
    expect(Math.max(...hoursApart(found))).toBeLessThanOrEqual(25);
  });
});

test('1970 has slots, 2100 is no leap year, and a schedule that never comes up ends the search', () => {
  expect(slots('15 3 * * *', 'UTC', '1969-12-31T00:00Z', '1970-01-01T12:00Z')).toEqual([
    '1969-12-31T03:15Z',
    '1970-01-01T03:15Z',
  ]);
  expect(next('0 0 29 2 *', 'UTC', '2096-03-01')).toBe('2104-02-29T00:00Z');
  expect(next('0 0 1 1 *', 'Europe/Rome', '2099-06-01')).toBe('2099-12-31T23:00Z');
  expect(next('15 3 * * *', 'Europe/Rome', '2100-07-01')).toBe('2100-07-01T01:15Z');
  expect(next('0 0 30W 2 *', 'UTC', '2026-01-01')).toBe('never');
});

test('of too many slots the newest are told, in order', () => {
  const [from, to] = [new Date('2020-01-01'), new Date('2026-10-25T01:30:30Z')];
  const found = slotsBetween('* * * * *', 'Europe/Rome', from, to, 3);
  expect(found.map(isoOf)).toEqual(['2026-10-25T01:28Z', '2026-10-25T01:29Z', '2026-10-25T01:30Z']);
});

test('the bounds: the slot at the beginning is dealt with, the one at the end is due', () => {
  const found = slots('0 * * * *', 'UTC', '2026-01-01T00:00Z', '2026-01-01T02:00Z');
  expect(found).toEqual(['2026-01-01T01:00Z', '2026-01-01T02:00Z']);
  expect(next('0 * * * *', 'UTC', '2026-01-01T01:00Z')).toBe('2026-01-01T02:00Z');
});

test('the next slot is the first of the slots between, in every zone and at any time', () => {
  const expressions = ['*/20 * * * *', '30 1,2 * * *', '0 0 * * *', '45 23 * * 6,0', '0 */5 * * *'];
  const america = ['America/New_York', 'America/Havana'];
  const zones = [...america, 'Europe/Rome', 'Asia/Beirut', 'Pacific/Apia', 'Australia/Lord_Howe'];
  const instants = fc.date({ min: new Date('2011-01-01'), max: new Date('2031-01-01'), noInvalidDate: true });
  fc.assert(
    fc.property(
      fc.constantFrom(...expressions),
      fc.constantFrom(...zones),
      instants,
      (expression, timezone, after) => {
        const upTo = new Date(after.getTime() + 9 * 86_400_000);
        const between = slotsBetween(expression, timezone, after, upTo, 1000);
        expect(between[0]).toEqual(nextSlot(expression, timezone, after));
        const times = between.map((slot) => slot.getTime());
        expect(times).toEqual([...new Set(times)].sort((a, b) => a - b));
      },
    ),
  );
});
