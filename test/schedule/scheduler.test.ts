import { afterEach, describe, expect, test, vi } from 'vitest';
import type { Clock } from '../../src/clock.js';
import { Scheduler, type SchedulerEvent, type SchedulerOptions } from '../../src/schedule/scheduler.js';
import type { ScheduledEntry } from '../../src/schedule/slot-book.js';

/** A clock that stands still until it is moved. */
class HandMovedClock implements Clock {
  #now: Date;
  constructor(now: string) {
    this.#now = new Date(now);
  }
  now(): Date {
    return new Date(this.#now);
  }
  monotonicMs(): number {
    return performance.now();
  }
  moveTo(now: string): void {
    this.#now = new Date(now);
  }
}

interface Started {
  name: string;
  trigger: string;
  slot: string;
  end(): void;
  fail(error: Error): void;
}

/** A scheduler over a store of slots that outlives it, with jobs that end when the test says so. */
class Host {
  readonly clock = new HandMovedClock('2026-01-01T09:00:00Z');
  /** What is recorded durably. */
  readonly slots = new Map<string, Date>();
  readonly order: string[] = [];
  readonly started: Started[] = [];
  readonly events: SchedulerEvent[] = [];
  readonly abort = new AbortController();
  atWork = 0;
  mostAtWork = 0;
  jobsEndAtOnce = false;
  scheduler = this.boot([]);

  boot(entries: ScheduledEntry[], changes: Partial<SchedulerOptions> = {}): Scheduler {
    this.scheduler = new Scheduler({
      entries,
      concurrency: 2,
      clock: this.clock,
      signal: this.abort.signal,
      loadLastSlot: async (name) => this.slots.get(name) ?? null,
      recordSlot: async (name, slot) => {
        this.order.push(`record ${name} ${slot.toISOString().slice(11, 16)}`);
        this.slots.set(name, slot);
      },
      runJob: (name, trigger, slot) => this.#job(name, trigger, slot),
      report: (event) => this.events.push(event),
      ...changes,
    });
    return this.scheduler;
  }

  async tickAt(now: string): Promise<void> {
    this.clock.moveTo(now);
    await this.scheduler.tick();
  }

  runs(): string[] {
    return this.started.map(({ name, trigger, slot }) => `${name} ${slot} ${trigger}`);
  }

  async #job(name: string, trigger: string, slot: Date): Promise<void> {
    this.order.push(`run ${name} ${slot.toISOString().slice(11, 16)}`);
    this.atWork++;
    this.mostAtWork = Math.max(this.mostAtWork, this.atWork);
    try {
      await new Promise<void>((end, fail) => {
        this.started.push({ name, trigger, slot: slot.toISOString().slice(11, 16), end, fail });
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

test('the slot is recorded before its job starts, and the guest runs at its next slot again', async () => {
  host.boot([hourly('a')]);
  await host.tickAt('2026-01-01T09:59:59Z');
  expect(host.order).toEqual(['record a 09:00']);
  await host.tickAt('2026-01-01T10:00:00Z');
  expect(host.order).toEqual(['record a 09:00', 'record a 10:00', 'run a 10:00']);
  host.started[0]?.end();
  await host.tickAt('2026-01-01T11:00:00Z');
  await vi.waitFor(() => expect(host.runs()).toEqual(['a 10:00 schedule', 'a 11:00 schedule']));
});

test('fault 57: after downtime over three slots there is one catch-up, and after the next downtime one again', async () => {
  host.boot([hourly('a')]);
  await host.tickAt('2026-01-01T10:00:00Z');
  host.started[0]?.end();
  await host.scheduler.stop();

  host.clock.moveTo('2026-01-01T13:30:00Z');
  host.boot([hourly('a')]);
  await host.tickAt('2026-01-01T13:30:00Z');
  host.started[1]?.end();
  await host.tickAt('2026-01-01T13:31:00Z');
  await host.tickAt('2026-01-01T13:59:00Z');
  expect(host.runs()).toEqual(['a 10:00 schedule', 'a 13:00 catchUp']);
  expect(host.events).toMatchObject([{ type: 'missed', missed: { name: 'a', slots: 2 } }]);
  await host.scheduler.stop();

  host.boot([hourly('a')]);
  await host.tickAt('2026-01-01T13:59:30Z');
  expect(host.runs()).toHaveLength(2);
});

test('a guest that was down over its very first slot is caught up: when it was first seen is recorded', async () => {
  host.boot([hourly('a')]);
  await host.tickAt('2026-01-01T09:10:00Z');
  await host.scheduler.stop();

  host.clock.moveTo('2026-01-01T11:30:00Z');
  host.boot([hourly('a')]);
  await host.tickAt('2026-01-01T11:30:00Z');
  expect(host.runs()).toEqual(['a 11:00 catchUp']);
});

test('a process that died between the record and the job does not run the slot again at every start', async () => {
  host.boot([hourly('a')]);
  host.slots.set('a', new Date('2026-01-01T09:00:00Z'));
  await host.tickAt('2026-01-01T09:00:00Z');
  expect(host.runs()).toEqual([]);
});

test('slots that nobody wants to catch up are recorded as dealt with, and told once', async () => {
  host.slots.set('a', new Date('2026-01-01T05:00:00Z'));
  host.boot([hourly('a', { catchUp: false })]);
  await host.tickAt('2026-01-01T09:30:00Z');
  await host.tickAt('2026-01-01T09:31:00Z');
  expect(host.events).toMatchObject([{ type: 'missed', missed: { name: 'a', slots: 4 } }]);
  expect(host.order).toEqual(['record a 09:00']);
});

test('fault 58: of 200 guests due at once all run, in order, and never more than the limit at a time', async () => {
  const guests = Array.from({ length: 200 }, (_, index) => hourly(`guest${String(index).padStart(3, '0')}`));
  host.jobsEndAtOnce = true;
  host.boot([...guests].reverse(), { concurrency: 7 });
  await host.tickAt('2026-01-01T10:00:00Z');
  // Hours pass while they wait: that makes none of them a catch-up, and none is forgotten.
  host.clock.moveTo('2026-01-01T10:50:00Z');
  await vi.waitFor(() => expect(host.started).toHaveLength(200), { timeout: 30_000 });
  expect(host.mostAtWork).toBe(7);
  expect(host.runs()).toEqual(guests.map(({ name }) => `${name} 10:00 schedule`));
  await vi.waitFor(() => expect(host.atWork).toBe(0));
  await host.scheduler.tick();
  expect(host.started).toHaveLength(200);
});

test('a guest whose job outlives its slots has one job at a time, and one catch-up afterwards', async () => {
  host.boot([hourly('a')]);
  await host.tickAt('2026-01-01T10:00:00Z');
  await host.tickAt('2026-01-01T11:00:00Z');
  await host.tickAt('2026-01-01T12:30:00Z');
  expect(host.runs()).toEqual(['a 10:00 schedule']);
  host.started[0]?.end();
  await vi.waitFor(() => expect(host.runs()).toEqual(['a 10:00 schedule', 'a 12:00 catchUp']));
  expect(host.mostAtWork).toBe(1);
});

test('many wake-ups at once are one tick, and start a guest once', async () => {
  host.boot([hourly('a')]);
  host.clock.moveTo('2026-01-01T10:00:00Z');
  await Promise.all(Array.from({ length: 50 }, () => host.scheduler.tick()));
  expect(host.order).toEqual(['record a 09:00', 'record a 10:00', 'run a 10:00']);
});

describe('a failure does not end the schedule:', () => {
  test('of a job is told, and the guest runs at its next slot', async () => {
    host.boot([hourly('a')]);
    await host.tickAt('2026-01-01T10:00:00Z');
    host.started[0]?.fail(new Error('no luck'));
    await vi.waitFor(() =>
      expect(host.events).toMatchObject([{ type: 'jobFailed', error: { message: 'no luck' } }]),
    );
    await host.tickAt('2026-01-01T11:00:00Z');
    expect(host.runs()).toHaveLength(2);
  });

  test('of a job that throws at once as well', async () => {
    host.boot([hourly('a')], {
      runJob: () => {
        throw new Error('at once');
      },
    });
    await host.tickAt('2026-01-01T10:00:00Z');
    await vi.waitFor(() => expect(host.events).toMatchObject([{ type: 'jobFailed' }]));
  });

  test('a slot that could not be recorded starts no job, and does when it can be', async () => {
    let isFull = true;
    const recordSlot = async (name: string, slot: Date) => {
      if (isFull) throw new Error('disk full');
      host.slots.set(name, slot);
    };
    for (const guest of ['a', 'b']) host.slots.set(guest, new Date('2026-01-01T09:00:00Z'));
    host.boot([hourly('a', { catchUp: false }), hourly('b')], { recordSlot });
    await host.tickAt('2026-01-01T10:00:00Z');
    expect(host.runs()).toEqual([]);
    expect(host.events.map(({ type }) => type)).toEqual(['slotNotRecorded', 'slotNotRecorded']);
    isFull = false;
    await host.tickAt('2026-01-01T10:20:00Z');
    expect(host.runs()).toEqual(['a 10:00 schedule', 'b 10:00 schedule']);
  });

  test('a guest whose last slot can’t be read waits, and the others do not', async () => {
    let isLocked = true;
    const loadLastSlot = async (name: string) => {
      if (name === 'a' && isLocked) throw new Error('locked');
      return new Date('2026-01-01T09:00:00Z');
    };
    host.boot([hourly('a'), hourly('b')], { loadLastSlot });
    await host.tickAt('2026-01-01T10:00:00Z');
    expect(host.runs()).toEqual(['b 10:00 schedule']);
    expect(host.events).toMatchObject([{ type: 'slotNotLoaded', name: 'a' }]);
    isLocked = false;
    await host.tickAt('2026-01-01T10:00:30Z');
    expect(host.runs()).toEqual(['b 10:00 schedule', 'a 10:00 schedule']);
  });

  test('an expression that can’t be read is told, and the scheduler can still be stopped', async () => {
    host.boot([hourly('a', { schedule: 'nonsense' })]);
    await host.tickAt('2026-01-01T10:00:00Z');
    expect(host.events).toMatchObject([{ type: 'tickFailed' }]);
  });
});

describe('the end', () => {
  test('starts nothing more, and waits for the jobs at work', async () => {
    host.boot([hourly('a'), hourly('b'), hourly('c')]);
    await host.tickAt('2026-01-01T10:00:00Z');
    let hasStopped = false;
    const stopped = host.scheduler.stop().then(() => {
      hasStopped = true;
    });
    host.started[0]?.end();
    await new Promise((resolve) => setImmediate(resolve));
    expect(hasStopped).toBe(false);
    host.started[1]?.end();
    await stopped;
    await host.tickAt('2026-01-01T11:00:00Z');
    expect(host.runs()).toEqual(['a 10:00 schedule', 'b 10:00 schedule']);
    // The one that waited is not recorded: the next start catches it up.
    expect(host.slots.get('c')).toEqual(new Date('2026-01-01T09:00:00Z'));
  });

  test('by the signal reaches every job', async () => {
    const signals: AbortSignal[] = [];
    host.boot([hourly('a')], {
      runJob: async (_name, _trigger, _slot, signal) => {
        signals.push(signal);
        await new Promise((resolve) => signal.addEventListener('abort', resolve));
      },
    });
    await host.tickAt('2026-01-01T10:00:00Z');
    host.abort.abort();
    await host.scheduler.stop();
    expect(signals[0]?.aborted).toBe(true);
  });

  test('in the middle of a record still runs the slot that is then recorded, and waits for it', async () => {
    let finishRecord = () => {};
    host.slots.set('a', new Date('2026-01-01T09:00:00Z'));
    host.boot([hourly('a')], {
      recordSlot: () =>
        new Promise((resolve) => {
          finishRecord = resolve;
        }),
    });
    host.clock.moveTo('2026-01-01T10:00:00Z');
    const ticked = host.scheduler.tick();
    await vi.waitFor(() => expect(finishRecord.length).toBe(1));
    let hasStopped = false;
    const stopped = host.scheduler.stop().then(() => {
      hasStopped = true;
    });
    await new Promise((resolve) => setImmediate(resolve));
    finishRecord();
    await ticked;
    expect(host.runs()).toEqual(['a 10:00 schedule']);
    await new Promise((resolve) => setImmediate(resolve));
    expect(hasStopped).toBe(false);
    host.started[0]?.end();
    await stopped;
  });
});

describe('a config that was read again', () => {
  test('takes new guests in from now on, and lets the jobs of those that are gone end', async () => {
    host.boot([hourly('a')]);
    await host.tickAt('2026-01-01T10:00:00Z');
    host.clock.moveTo('2026-01-01T10:30:00Z');
    host.scheduler.replaceEntries([hourly('b')]);
    await host.tickAt('2026-01-01T11:00:00Z');
    expect(host.runs()).toEqual(['a 10:00 schedule', 'b 11:00 schedule']);
    expect(host.atWork).toBe(2);
  });

  test('with a new schedule does not catch up what that would have been', async () => {
    host.boot([hourly('a', { schedule: '0 3 * * *' })]);
    host.slots.set('a', new Date('2026-01-01T03:00:00Z'));
    await host.tickAt('2026-01-01T10:30:00Z');
    host.scheduler.replaceEntries([hourly('a')]);
    await host.tickAt('2026-01-01T10:31:00Z');
    expect(host.runs()).toEqual([]);
    await host.tickAt('2026-01-01T11:00:00Z');
    expect(host.runs()).toEqual(['a 11:00 schedule']);
  });

  test('without changes forgets nothing', async () => {
    host.boot([hourly('a')]);
    await host.tickAt('2026-01-01T10:00:00Z');
    host.started[0]?.end();
    host.scheduler.replaceEntries([hourly('a')]);
    await host.tickAt('2026-01-01T10:00:30Z');
    expect(host.runs()).toHaveLength(1);
  });

  test('gives more room at once', async () => {
    host.boot([hourly('a'), hourly('b'), hourly('c')], { concurrency: 1 });
    await host.tickAt('2026-01-01T10:00:00Z');
    expect(host.atWork).toBe(1);
    host.scheduler.replaceEntries([hourly('a'), hourly('b'), hourly('c')], 3);
    await host.scheduler.tick();
    expect(host.atWork).toBe(3);
  });
});

describe('a clock that was set', () => {
  test('back runs no slot twice, and says so once', async () => {
    host.boot([hourly('a')]);
    await host.tickAt('2026-01-01T10:00:00Z');
    host.started[0]?.end();
    for (const minute of [0, 1, 2]) await host.tickAt(`2026-01-01T08:0${minute}:00Z`);
    await host.tickAt('2026-01-01T10:00:00Z');
    expect(host.runs()).toHaveLength(1);
    expect(host.events).toMatchObject([{ type: 'held', held: { name: 'a', action: 'hold' } }]);
    await host.tickAt('2026-01-01T11:00:00Z');
    expect(host.runs()).toHaveLength(2);
  });

  test('right again after it stood at 2100 begins anew', async () => {
    host.slots.set('a', new Date('2100-01-01T00:00:00Z'));
    host.boot([hourly('a')]);
    await host.tickAt('2026-01-01T09:30:00Z');
    expect(host.events).toMatchObject([{ type: 'held', held: { action: 'restart' } }]);
    await host.tickAt('2026-01-01T10:00:00Z');
    expect(host.runs()).toEqual(['a 10:00 schedule']);
    expect(host.slots.get('a')).toEqual(new Date('2026-01-01T10:00:00Z'));
  });
});

test('on the real clock it wakes by itself: at a slot, and when a job has ended', async () => {
  const everySecond = (guest: string) => hourly(guest, { schedule: '* * * * * *' });
  host.jobsEndAtOnce = true;
  host.boot([everySecond('a'), everySecond('b')], {
    concurrency: 1,
    clock: { now: () => new Date(), monotonicMs: () => performance.now() },
  });
  await host.scheduler.start();
  await vi.waitFor(() => expect(host.started.length).toBeGreaterThanOrEqual(4), { timeout: 20_000 });
  expect(new Set(host.started.map(({ name }) => name))).toEqual(new Set(['a', 'b']));
  await host.scheduler.stop();
  expect(host.mostAtWork).toBe(1);
});
