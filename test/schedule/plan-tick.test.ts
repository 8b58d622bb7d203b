import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type DueRun, type PlannedEntry, planTick, type TickInput } from '../../src/schedule/plan-tick.js';
import { globalEntry } from '../../src/schedule/timetable.js';

const since = new Date('2026-01-01T00:00Z');
const hourly = { schedule: '0 * * * *', timezone: 'UTC', catchUp: true, jitterMs: 0, lastSlot: null, since };
const entryNamed = (name: string, changes: Partial<PlannedEntry> = {}) => ({ name, ...hourly, ...changes });

function planAt(now: string | Date, entries: PlannedEntry[], changes: Partial<TickInput> = {}) {
  const quiet = { running: new Set<string>(), waiting: [], concurrency: 10 };
  return planTick({ now: new Date(now), entries, ...quiet, ...changes });
}

const at = (time: string) => new Date(`2026-01-01T${time}Z`);

test('a slot that is a minute late, as on a busy host, is no catch-up; one that is later is', () => {
  const entry = entryNamed('a', { lastSlot: at('09:00') });
  expect(planAt(at('10:01'), [entry]).due[0]?.trigger).toBe('schedule');
  expect(planAt('2026-01-01T10:01:00.001Z', [entry]).due[0]?.trigger).toBe('catchUp');
});

test('a year of missed minutes is one catch-up, and does not take a year to count', () => {
  const entry = entryNamed('a', { schedule: '* * * * *', lastSlot: at('00:00') });
  const plan = planAt('2027-01-01T00:00:30Z', [entry]);
  expect(plan.due).toEqual([{ name: 'a', slot: new Date('2027-01-01'), trigger: 'schedule' }]);
  expect(plan.missed).toMatchObject([{ slots: 999, upTo: new Date('2026-12-31T23:59Z') }]);
});

describe('when there is less room than there is to do', () => {
  const entries = ['d', 'c', 'b', 'a'].map((name, index) =>
    entryNamed(name, { schedule: `${index} * * * *`, lastSlot: at('09:30') }),
  );

  test('the oldest slots go first, and no more than there is room for', () => {
    const plan = planAt(at('10:03'), entries, { concurrency: 3, running: new Set(['elsewhere']) });
    expect(plan.due.map(({ name }) => name)).toEqual(['d', 'c']);
    expect(plan.waiting.map(({ name }) => name)).toEqual(['b', 'a']);
  });

  test('one that was due in time is no catch-up for having waited for hours, not even where those are unwanted', () => {
    const waiting: DueRun[] = [{ name: 'a', slot: at('10:03'), trigger: 'schedule' }];
    const patient = entryNamed('a', { lastSlot: at('09:03'), catchUp: false });
    expect(planAt(at('15:00'), [patient], { waiting }).due).toEqual(waiting);
  });

  test('one that waits goes before one whose slot came later', () => {
    const waiting: DueRun[] = [{ name: 'z', slot: at('10:00'), trigger: 'schedule' }];
    const both = ['a', 'z'].map((name) => entryNamed(name, { lastSlot: at('10:00') }));
    const plan = planAt(at('11:00'), both, { waiting, concurrency: 1 });
    expect(plan.waiting).toEqual([{ name: 'a', slot: at('11:00'), trigger: 'schedule' }]);
    expect(plan.due).toEqual(waiting);
  });

  test('a limit that was lowered under what runs already starts nothing', () => {
    const plan = planAt(at('10:03'), entries, { concurrency: 1, running: new Set(['x', 'y']) });
    expect(plan.due).toEqual([]);
    expect(plan.waiting).toHaveLength(4);
  });

  test('a global job takes no room of the guests: hours of reading keep no backup waiting', () => {
    const verify = entryNamed(globalEntry('verify'), { lastSlot: at('09:30') });
    const both = [...entries, verify];
    const full = planAt(at('10:03'), both, { concurrency: 2, running: new Set(['x', 'y']) });
    expect(full.due).toMatchObject([{ name: ':verify', slot: at('10:00') }]);
    const beside = planAt(at('10:03'), both, { concurrency: 1, running: new Set([':verify']) });
    expect(beside.due.map(({ name }) => name)).toEqual(['d']);
  });

  test('a guest that is gone from the config waits no more', () => {
    const waiting: DueRun[] = [{ name: 'gone', slot: at('10:00'), trigger: 'schedule' }];
    expect(planAt(at('10:03'), [], { waiting })).toMatchObject({ due: [], waiting: [] });
  });
});

describe('a clock that was set', () => {
  const hours = 3_600_000;
  test.each([
    [0, undefined],
    [1, 'hold'],
    [hours / 2, 'hold'],
    [48 * hours, 'hold'],
    [48 * hours + 1, 'restart'],
    // From 2026 to 1970, or back from 2100.
    [56 * 365 * 24 * hours, 'restart'],
  ])('back by %i ms behind the last slot runs no slot twice, and it says why: %s', (aheadMs, action) => {
    const lastSlot = new Date(at('09:30').getTime() + aheadMs);
    const plan = planAt(at('09:30'), [entryNamed('a', { lastSlot })]);
    expect(plan.due).toEqual([]);
    const reason = expect.stringContaining(lastSlot.toISOString());
    expect(plan.held).toEqual(action === undefined ? [] : [{ name: 'a', action, reason }]);
    // What has run is waited for, and nothing before it.
    if (action === 'hold') expect(plan.next).toEqual(lastSlot);
  });

  test('forward by a day, or to 2100, is one catch-up', () => {
    const entries = [entryNamed('a', { lastSlot: at('09:00') })];
    for (const now of ['2026-01-02T09:30Z', '2100-01-01T00:30Z'])
      expect(planAt(now, entries).due).toMatchObject([{ trigger: 'catchUp' }]);
  });
});

describe('jitter', () => {
  const jittered = (name: string) => entryNamed(name, { jitterMs: 600_000, lastSlot: at('09:00') });
  const startOf = (name: string) => planAt(at('10:00'), [jittered(name)]).next?.getTime() ?? Number.NaN;

  test('is the same for a guest and slot each time that somebody looks', () => {
    const start = startOf('a');
    expect(startOf('a')).toBe(start);
    expect(planAt(new Date(start - 1), [jittered('a')])).toMatchObject({ due: [], next: new Date(start) });
    expect(planAt(new Date(start), [jittered('a')]).due).toEqual([
      { name: 'a', slot: at('10:00'), trigger: 'schedule' },
    ]);
  });

  test('spreads the guests over the time that it is given', () => {
    const minutes = Array.from({ length: 200 }, (_, index) =>
      Math.floor((startOf(`guest${index}`) - at('10:00').getTime()) / 60_000),
    );
    expect([Math.min(...minutes), Math.max(...minutes)]).toEqual([0, 9]);
    for (let minute = 0; minute < 10; minute++)
      expect(minutes.filter((one) => one === minute).length).toBeGreaterThan(5);
  });

  test('longer than the time between two slots does not put a guest off for ever', () => {
    const entry = entryNamed('a', { schedule: '* * * * *', jitterMs: 3_600_000, lastSlot: at('09:00') });
    let lastSlot = at('09:00');
    let runs = 0;
    for (let second = 0; second <= 600; second++) {
      const [run] = planAt(new Date(at('09:00').getTime() + second * 1000), [{ ...entry, lastSlot }]).due;
      if (run === undefined) continue;
      lastSlot = run.slot;
      runs++;
    }
    expect(runs).toBeGreaterThanOrEqual(9);
  });
});

test('whatever the clock and the room do, no slot of a guest runs twice and none runs beside another of its guest', () => {
  const forwardMs = fc.integer({ min: -3_600_000, max: 3 * 3_600_000 });
  const step = fc.record({ forwardMs, ends: fc.boolean() });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), fc.integer({ min: 1, max: 3 }), (steps, concurrency) => {
      let entries = ['a', 'b', 'c', 'd'].map((name) =>
        entryNamed(name, { schedule: '*/20 * * * *', jitterMs: 60_000 }),
      );
      let nowMs = at('00:00').getTime();
      let waiting: DueRun[] = [];
      const running = new Set<string>();
      const done = new Set<string>();
      for (const { forwardMs, ends } of steps) {
        nowMs += forwardMs;
        if (ends) running.clear();
        const plan = planTick({ now: new Date(nowMs), entries, running, waiting, concurrency });
        waiting = plan.waiting;
        for (const { name, slot } of plan.due) {
          expect(running.has(name)).toBe(false);
          expect(done).not.toContain(`${name} ${slot.toISOString()}`);
          done.add(`${name} ${slot.toISOString()}`);
          running.add(name);
          entries = entries.map((one) => (one.name === name ? { ...one, lastSlot: slot } : one));
        }
        expect(running.size).toBeLessThanOrEqual(concurrency);
        // A guest that begins anew may run what it ran under the wrong clock: this run never gets so far ahead.
        for (const { action } of plan.held) fc.pre(action === 'hold');
      }
    }),
  );
});
