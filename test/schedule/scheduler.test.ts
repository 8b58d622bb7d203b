import { afterEach, describe, expect, test, vi } from 'vitest';
import type { ScheduledEntry } from '../../src/schedule/schedule-state.js';
import { Scheduler, type SchedulerEvent, type SchedulerOptions } from '../../src/schedule/scheduler.js';

/** Of the day of these tests. */
const at = (time: string) => new Date(`2026-01-01T${time}Z`);
const timeOf = (slot: Date) => slot.toISOString().slice(11, 16);

/** A scheduler over a store of slots that outlives it, with jobs that end when the test says so. */
class Host {
  /** Its clock stands still until it is moved. */
  now = at('09:00');
  /** What is recorded durably. */
  readonly slots = new Map<string, Date>();
  readonly order: string[] = [];
  readonly started: { run: string; name: string; end: () => void }[] = [];
  readonly events: SchedulerEvent[] = [];
  atWork = 0;
  mostAtWork = 0;
  jobsEndAtOnce = false;
  scheduler = this.boot([]);

  /** @param guests by their names those that are due every hour */
  boot(guests: (string | ScheduledEntry)[], changes: Partial<SchedulerOptions> = {}): Scheduler {
    this.scheduler = new Scheduler({
      entries: guests.map((guest) => (typeof guest === 'string' ? hourly(guest) : guest)),
      concurrency: 2,
      clock: { now: () => new Date(this.now), monotonicMs: () => performance.now() },
      signal: new AbortController().signal,
      loadLastSlot: async (name) => this.slots.get(name) ?? null,
      recordSlot: async (name, slot) => {
        this.order.push(`record ${name} ${timeOf(slot)}`);
        this.slots.set(name, slot);
      },
      runJob: (name, trigger, slot) => this.#job(name, trigger, slot),
      report: (event) => this.events.push(event),
      ...changes,
    });
    return this.scheduler;
  }

  /** As `boot` at this time of the day, and looks at once. */
  async bootAt(time: string, ...guests: string[]): Promise<void> {
    this.now = at(time);
    this.boot(guests);
    await this.scheduler.tick();
  }

  /** As the scheduler looks at each of these times of the day. */
  async tickAt(...times: string[]): Promise<void> {
    for (const time of times) {
      this.now = at(time);
      await this.scheduler.tick();
    }
  }

  runs = () => this.started.map(({ run }) => run);

  async #job(name: string, trigger: string, slot: Date): Promise<void> {
    this.order.push(`run ${name} ${timeOf(slot)}`);
    this.atWork++;
    this.mostAtWork = Math.max(this.mostAtWork, this.atWork);
    try {
      await new Promise<void>((end) => {
        this.started.push({ run: `${name} ${timeOf(slot)} ${trigger}`, name, end });
        if (this.jobsEndAtOnce) setImmediate(end);
      });
    } finally {
      this.atWork--;
    }
  }
}

function hourly(name: string, changes: Partial<ScheduledEntry> = {}): ScheduledEntry {
  return { name, schedule: '0 * * * *', timezone: 'UTC', catchUp: true, jitterMs: 0, ...changes };
}

let host = new Host();
afterEach(async () => {
  for (const job of host.started) job.end();
  await host.scheduler.stop();
  host = new Host();
});

test('the slot is recorded before its job starts, once for many wake-ups, and the guest runs at its next slot again', async () => {
  host.boot(['a']);
  await host.tickAt('09:59:59');
  expect(host.order).toEqual(['record a 09:00']);
  host.now = at('10:00');
  // Many wake-ups at once are one.
  await Promise.all(Array.from({ length: 50 }, () => host.scheduler.tick()));
  expect(host.order).toEqual(['record a 09:00', 'record a 10:00', 'run a 10:00']);
  host.started[0]?.end();
  await host.tickAt('11:00');
  await vi.waitFor(() => expect(host.runs()).toEqual(['a 10:00 schedule', 'a 11:00 schedule']));
});

test('fault 57: after downtime over three slots there is one catch-up, and after the next downtime one again', async () => {
  host.boot(['a']);
  await host.tickAt('10:00');
  host.started[0]?.end();
  await host.scheduler.stop();

  await host.bootAt('13:30', 'a');
  host.started[1]?.end();
  await host.tickAt('13:31', '13:59');
  expect(host.runs()).toEqual(['a 10:00 schedule', 'a 13:00 catchUp']);
  expect(host.events).toMatchObject([{ type: 'missed', missed: { name: 'a', slots: 2 } }]);
  await host.scheduler.stop();

  await host.bootAt('13:59:30', 'a');
  expect(host.runs()).toHaveLength(2);
});

test('a guest that was down over its very first slot is caught up: when it was first seen is recorded', async () => {
  await host.bootAt('09:10', 'a');
  await host.scheduler.stop();
  await host.bootAt('11:30', 'a');
  expect(host.runs()).toEqual(['a 11:00 catchUp']);
});

test('slots that nobody wants to catch up are recorded as dealt with, and told once', async () => {
  host.slots.set('a', at('05:00'));
  host.boot([hourly('a', { catchUp: false })]);
  await host.tickAt('09:30', '09:31');
  expect(host.events).toMatchObject([{ type: 'missed', missed: { name: 'a', slots: 4 } }]);
  expect(host.order).toEqual(['record a 09:00']);
});

test('fault 58: of 200 guests due at once all run, in order, and never more than the limit at a time', async () => {
  const guests = Array.from({ length: 200 }, (_, index) => hourly(`guest${String(index).padStart(3, '0')}`));
  host.jobsEndAtOnce = true;
  host.boot([...guests].reverse(), { concurrency: 7 });
  await host.tickAt('10:00');
  // Hours pass while they wait: that makes none of them a catch-up, and none is forgotten.
  host.now = at('10:50');
  await vi.waitFor(() => expect(host.started).toHaveLength(200), { timeout: 30_000 });
  expect(host.mostAtWork).toBe(7);
  expect(host.runs()).toEqual(guests.map(({ name }) => `${name} 10:00 schedule`));
  await vi.waitFor(() => expect(host.atWork).toBe(0));
  await host.scheduler.tick();
  expect(host.started).toHaveLength(200);
});

test('a guest whose job outlives its slots has one job at a time, and one catch-up afterwards', async () => {
  host.boot(['a']);
  await host.tickAt('10:00', '11:00', '12:30');
  expect(host.runs()).toEqual(['a 10:00 schedule']);
  host.started[0]?.end();
  await vi.waitFor(() => expect(host.runs()).toEqual(['a 10:00 schedule', 'a 12:00 catchUp']));
  expect(host.mostAtWork).toBe(1);
});

describe('a failure does not end the schedule:', () => {
  const fails = {
    later: () => Promise.reject(new Error('no luck')),
    'at once': () => {
      throw new Error('no luck');
    },
  };
  test.each(Object.entries(fails))('of a job %s is told, and the guest runs on', async (_, runJob) => {
    host.boot(['a'], { runJob });
    const failed = { type: 'jobFailed', error: { message: 'no luck' } };
    await host.tickAt('10:00');
    await vi.waitFor(() => expect(host.events).toMatchObject([failed]));
    await host.tickAt('11:00');
    await vi.waitFor(() => expect(host.events).toMatchObject([failed, failed]));
  });

  test('a slot that could not be recorded starts no job, and does when it can be', async () => {
    let isFull = true;
    const recordSlot = async (name: string, slot: Date) => {
      if (isFull) throw new Error('disk full');
      host.slots.set(name, slot);
    };
    for (const guest of ['a', 'b']) host.slots.set(guest, at('09:00'));
    host.boot([hourly('a', { catchUp: false }), 'b'], { recordSlot });
    await host.tickAt('10:00');
    expect(host.runs()).toEqual([]);
    expect(host.events.map(({ type }) => type)).toEqual(['slotNotRecorded', 'slotNotRecorded']);
    isFull = false;
    await host.tickAt('10:20');
    expect(host.runs()).toEqual(['a 10:00 schedule', 'b 10:00 schedule']);
  });

  test('a guest whose last slot can’t be read waits, and the others do not', async () => {
    let isLocked = true;
    const loadLastSlot = async (name: string) => {
      if (name === 'a' && isLocked) throw new Error('locked');
      return at('09:00');
    };
    host.boot(['a', 'b'], { loadLastSlot });
    await host.tickAt('10:00');
    expect(host.runs()).toEqual(['b 10:00 schedule']);
    expect(host.events).toMatchObject([{ type: 'slotNotLoaded', name: 'a' }]);
    isLocked = false;
    await host.tickAt('10:00:30');
    expect(host.runs()).toEqual(['b 10:00 schedule', 'a 10:00 schedule']);
  });

  test('an expression that can’t be read is told, and the scheduler can still be stopped', async () => {
    host.boot([hourly('a', { schedule: 'nonsense' })]);
    await host.tickAt('10:00');
    expect(host.events).toMatchObject([{ type: 'tickFailed' }]);
  });
});

describe('the end', () => {
  test('starts nothing more, and waits for the jobs at work', async () => {
    host.boot(['a', 'b', 'c']);
    await host.tickAt('10:00');
    const onStopped = vi.fn();
    const stopping = host.scheduler.stop().then(onStopped);
    host.started[0]?.end();
    await new Promise((resolve) => setImmediate(resolve));
    expect(onStopped).not.toHaveBeenCalled();
    host.started[1]?.end();
    await stopping;
    await host.tickAt('11:00');
    expect(host.runs()).toEqual(['a 10:00 schedule', 'b 10:00 schedule']);
    // The one that waited is not recorded: the next start catches it up.
    expect(host.slots.get('c')).toEqual(at('09:00'));
  });

  test('in the middle of a record still runs the slot that is then recorded, and waits for it', async () => {
    let finishRecord = () => {};
    host.slots.set('a', at('09:00'));
    const recordSlot = () =>
      new Promise<void>((resolve) => {
        finishRecord = resolve;
      });
    host.boot(['a'], { recordSlot });
    host.now = at('10:00');
    const ticked = host.scheduler.tick();
    await vi.waitFor(() => expect(finishRecord.length).toBe(1));
    const onStopped = vi.fn();
    const stopping = host.scheduler.stop().then(onStopped);
    await new Promise((resolve) => setImmediate(resolve));
    finishRecord();
    await ticked;
    expect(host.runs()).toEqual(['a 10:00 schedule']);
    await new Promise((resolve) => setImmediate(resolve));
    expect(onStopped).not.toHaveBeenCalled();
    host.started[0]?.end();
    await stopping;
  });
});

describe('a config that was read again', () => {
  test('takes new guests in from now on, forgets nothing of those that stay, and lets the jobs of those that are gone end', async () => {
    host.boot(['a', 'c'], { concurrency: 3 });
    await host.tickAt('10:00');
    host.started[1]?.end();
    host.now = at('10:30');
    host.scheduler.replaceEntries([hourly('b'), hourly('c')]);
    await host.tickAt('10:30');
    expect(host.runs()).toEqual(['a 10:00 schedule', 'c 10:00 schedule']);
    await host.tickAt('11:00');
    expect(host.runs().slice(2)).toEqual(['b 11:00 schedule', 'c 11:00 schedule']);
    expect(host.atWork).toBe(3);
  });

  test('with a new schedule does not catch up what that would have been', async () => {
    host.boot([hourly('a', { schedule: '0 3 * * *' })]);
    host.slots.set('a', at('03:00'));
    await host.tickAt('10:30');
    host.scheduler.replaceEntries([hourly('a')]);
    await host.tickAt('10:31');
    expect(host.runs()).toEqual([]);
    await host.tickAt('11:00');
    expect(host.runs()).toEqual(['a 11:00 schedule']);
  });

  test('gives more room at once', async () => {
    const guests = [hourly('a'), hourly('b'), hourly('c')];
    host.boot(guests, { concurrency: 1 });
    await host.tickAt('10:00');
    expect(host.atWork).toBe(1);
    host.scheduler.replaceEntries(guests, 3);
    await host.scheduler.tick();
    expect(host.atWork).toBe(3);
  });
});

describe('a clock that was set', () => {
  test('back runs no slot twice, and says so once', async () => {
    host.boot(['a']);
    await host.tickAt('10:00');
    host.started[0]?.end();
    await host.tickAt('08:00', '08:01', '08:02', '10:00');
    expect(host.runs()).toHaveLength(1);
    expect(host.events).toMatchObject([{ type: 'held', held: { name: 'a', action: 'hold' } }]);
    await host.tickAt('11:00');
    expect(host.runs()).toHaveLength(2);
  });

  test('right again after it stood at 2100 begins anew', async () => {
    host.slots.set('a', new Date('2100-01-01T00:00:00Z'));
    host.boot(['a']);
    await host.tickAt('09:30');
    expect(host.events).toMatchObject([{ type: 'held', held: { action: 'restart' } }]);
    await host.tickAt('10:00');
    expect(host.runs()).toEqual(['a 10:00 schedule']);
    expect(host.slots.get('a')).toEqual(at('10:00'));
  });
});
