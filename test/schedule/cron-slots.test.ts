import fc from 'fast-check';
import { createTask } from 'node-cron';
import { describe, expect, test, vi } from 'vitest';
import { nextSlot, slotsBetween } from '../../src/schedule/cron-slots.js';

function slots(expression: string, timezone: string, from: string, to: string): string[] {
  return slotsBetween(expression, timezone, new Date(from), new Date(to), 1000).map(isoOf);
}

function isoOf(date: Date | null): string {
  return date === null ? 'never' : date.toISOString().replace(/:00\.000Z$/, 'Z');
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
  const expressions = [
    '15 3 * * *',
    '*/10 * * * * *',
    '7,37 22-2 * * *',
    '@daily',
    '0 */6 * * 1-5',
    '0 0 1,15 * 1',
    '0 0 L * *',
    '0 0 L-3 * *',
    '0 9 15W * *',
    '0 9 1W,LW * *',
    '30 6 * * 1#2',
    '30 6 * * 5L',
    '30 6 * * 0,7',
    '0 12 29 2 *',
    '0 12 * feb,jul mon,fri',
  ];
  const zones = ['UTC', 'Asia/Kolkata', 'Asia/Tokyo', 'America/Bogota', 'Pacific/Kiritimati', 'Africa/Lagos'];

  test.each(expressions)('%s', (expression) => {
    const instants = fc.date({
      min: new Date('2015-01-01'),
      max: new Date('2099-01-01'),
      noInvalidDate: true,
    });
    fc.assert(
      fc.property(instants, fc.constantFrom(...zones), (at, timezone) => {
        const expected = nodeCronRuns(expression, timezone, at, 3);
        const found: string[] = [];
        for (let after: Date | null = at; after !== null && found.length < 3; ) {
          after = nextSlot(expression, timezone, after);
          found.push(isoOf(after));
        }
        expect(found).toEqual(expected);
      }),
      { numRuns: 40 },
    );
  });
});

describe.each([
  // 2026: clocks go forward on 29 March at 01:00Z and back on 25 October at 01:00Z.
  {
    zone: 'Europe/Rome',
    springDay: '2026-03-29',
    autumnDay: '2026-10-25',
    gapAt: '2026-03-29T01:00Z',
    standardHours: 1,
    gapHour: 2,
    foldHour: 2,
  },
  // 2026: forward on 8 March at 07:00Z, back on 1 November at 06:00Z, when 01:00 to 02:00 comes again.
  {
    zone: 'America/New_York',
    springDay: '2026-03-08',
    autumnDay: '2026-11-01',
    gapAt: '2026-03-08T07:00Z',
    standardHours: -5,
    gapHour: 2,
    foldHour: 1,
  },
])('in $zone', ({ zone, springDay, autumnDay, gapAt, standardHours, gapHour, foldHour }) => {
  const local = (day: string, hour: number, minute: number, offsetHours: number) =>
    isoOf(new Date(Date.parse(`${day}T00:00Z`) + (hour - offsetHours) * 3_600_000 + minute * 60_000));
  const dayIn = (day: string, offsetHours: number): [string, string] => [
    new Date(Date.parse(`${day}T00:00Z`) - offsetHours * 3_600_000 - 1).toISOString(),
    new Date(Date.parse(`${day}T23:59Z`) - offsetHours * 3_600_000).toISOString(),
  ];
  // A spring day has 23 hours and ends in summer time, an autumn day has 25 and ends in standard time.
  const spring: [string, string] = [
    dayIn(springDay, standardHours)[0],
    dayIn(springDay, standardHours + 1)[1],
  ];
  const autumn: [string, string] = [
    dayIn(autumnDay, standardHours + 1)[0],
    dayIn(autumnDay, standardHours)[1],
  ];

  test('a slot in the hour that is jumped over comes once, at the first instant after it', () => {
    expect(slots(`30 ${gapHour} * * *`, zone, ...spring)).toEqual([gapAt]);
    expect(isoOf(nextSlot(`30 ${gapHour} * * *`, zone, new Date(spring[0])))).toBe(gapAt);
  });

  test('several slots in the hour that is jumped over, and one right after it, are one', () => {
    expect(slots(`0,20,40 ${gapHour},${gapHour + 1} * * *`, zone, ...spring)).toEqual([
      gapAt,
      local(springDay, gapHour + 1, 20, standardHours + 1),
      local(springDay, gapHour + 1, 40, standardHours + 1),
    ]);
  });

  test('a slot in the hour that comes twice comes once, the first time', () => {
    const first = local(autumnDay, foldHour, 30, standardHours + 1);
    expect(slots(`30 ${foldHour} * * *`, zone, ...autumn)).toEqual([first]);
    // Also for somebody who wakes up between the two.
    const between = new Date(Date.parse(first) + 1_800_000);
    expect(nextSlot(`30 ${foldHour} * * *`, zone, between)?.getTime()).toBeGreaterThan(
      between.getTime() + 23 * 3_600_000,
    );
  });

  test('a schedule of every hour runs in each of the 23 and of the 25 hours', () => {
    const hoursApart = (found: string[]) =>
      found.slice(1).map((slot, i) => (Date.parse(slot) - Date.parse(found[i] ?? '')) / 3_600_000);
    const springSlots = slots('15 * * * *', zone, ...spring);
    expect(springSlots).toHaveLength(23);
    expect(new Set(hoursApart(springSlots))).toEqual(new Set([1]));
    const autumnSlots = slots('15 * * * *', zone, ...autumn);
    expect(autumnSlots).toHaveLength(25);
    expect(new Set(hoursApart(autumnSlots))).toEqual(new Set([1]));
  });

  test('the slots outside of the change are where they are every day', () => {
    expect(slots('15 5 * * *', zone, ...spring)).toEqual([local(springDay, 5, 15, standardHours + 1)]);
    expect(slots('15 5 * * *', zone, ...autumn)).toEqual([local(autumnDay, 5, 15, standardHours)]);
    expect(slots('15 0 * * *', zone, ...spring)).toEqual([local(springDay, 0, 15, standardHours)]);
    expect(slots('15 0 * * *', zone, ...autumn)).toEqual([local(autumnDay, 0, 15, standardHours + 1)]);
  });

  test('every day of a year has its slot, and none has two', () => {
    const days = slots('30 2 * * *', zone, `${springDay.slice(0, 4)}-01-01T12:00Z`, '2027-01-01T12:00Z');
    expect(days).toHaveLength(365);
    const gaps = days.slice(1).map((slot, i) => (Date.parse(slot) - Date.parse(days[i] ?? '')) / 3_600_000);
    expect(Math.min(...gaps)).toBeGreaterThanOrEqual(23);
    expect(Math.max(...gaps)).toBeLessThanOrEqual(25);
  });
});

test('a midnight that is jumped over belongs to its day, and comes once', () => {
  // Cairo, 2026-04-24: 00:00 is 01:00 at once.
  expect(slots('0 0 * * *', 'Africa/Cairo', '2026-04-22T23:00Z', '2026-04-25T12:00Z')).toEqual([
    '2026-04-23T22:00Z',
    '2026-04-24T21:00Z',
  ]);
});

test('a change of half an hour is a change', () => {
  // Lord Howe, 2026-10-04: 02:00 is 02:30 at once, at 15:30Z.
  expect(slots('10 2 * * *', 'Australia/Lord_Howe', '2026-10-03T12:00Z', '2026-10-04T12:00Z')).toEqual([
    '2026-10-03T15:30Z',
  ]);
});

describe('far away', () => {
  test('2100 is no leap year, and its days are what they are', () => {
    expect(isoOf(nextSlot('0 0 29 2 *', 'UTC', new Date('2096-03-01')))).toBe('2104-02-29T00:00Z');
    expect(isoOf(nextSlot('0 0 1 1 *', 'Europe/Rome', new Date('2099-06-01')))).toBe('2099-12-31T23:00Z');
    expect(isoOf(nextSlot('15 3 * * *', 'Europe/Rome', new Date('2100-07-01')))).toBe('2100-07-01T01:15Z');
  });

  test('1970 has slots too', () => {
    expect(isoOf(nextSlot('15 3 * * *', 'UTC', new Date(0)))).toBe('1970-01-01T03:15Z');
    expect(slots('15 3 * * *', 'UTC', '1969-12-31T00:00Z', '1970-01-01T12:00Z')).toEqual([
      '1969-12-31T03:15Z',
      '1970-01-01T03:15Z',
    ]);
  });

  test('a schedule that never comes up ends the search', () => {
    expect(nextSlot('0 0 30W 2 *', 'UTC', new Date('2026-01-01'))).toBeNull();
  });
});

test('of too many slots the newest are told, in order', () => {
  const found = slotsBetween(
    '* * * * *',
    'Europe/Rome',
    new Date('2020-01-01'),
    new Date('2026-10-25T01:30:30Z'),
    3,
  );
  expect(found.map(isoOf)).toEqual(['2026-10-25T01:28Z', '2026-10-25T01:29Z', '2026-10-25T01:30Z']);
});

test('the bounds: the slot at the beginning is dealt with, the one at the end is due', () => {
  expect(slots('0 * * * *', 'UTC', '2026-01-01T00:00Z', '2026-01-01T02:00Z')).toEqual([
    '2026-01-01T01:00Z',
    '2026-01-01T02:00Z',
  ]);
  expect(isoOf(nextSlot('0 * * * *', 'UTC', new Date('2026-01-01T01:00Z')))).toBe('2026-01-01T02:00Z');
});

test('the next slot is the first of the slots between, in every zone and at any time', () => {
  fc.assert(
    fc.property(
      fc.constantFrom('*/20 * * * *', '30 1,2 * * *', '0 0 * * *', '45 23 * * 6,0', '0 */5 * * *'),
      fc.constantFrom(
        'Europe/Rome',
        'America/New_York',
        'America/Havana',
        'Asia/Beirut',
        'Pacific/Apia',
        'Australia/Lord_Howe',
      ),
      fc.date({ min: new Date('2011-01-01'), max: new Date('2031-01-01'), noInvalidDate: true }),
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
