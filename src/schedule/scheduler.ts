import { type Logger, type ScheduledTask, schedule } from 'node-cron';
import type { Clock } from '../clock.js';
import { type DueRun, type HeldEntry, type MissedSlots, planTick } from './plan-tick.js';
import { type ScheduledEntry, ScheduleState } from './schedule-state.js';

/** What the scheduler has to tell. None of these ends it. */
export type SchedulerEvent =
  | { type: 'missed'; missed: MissedSlots }
  | { type: 'held'; held: HeldEntry }
  | { type: 'jobFailed'; run: DueRun; error: unknown }
  | { type: 'slotNotLoaded'; name: string; error: unknown }
  | { type: 'slotNotRecorded'; name: string; slot: Date; error: unknown }
  | { type: 'tickFailed'; error: unknown };

export interface SchedulerOptions {
  entries: readonly ScheduledEntry[];
  /** How many jobs may be at work at the same time, apart from global ones. */
  concurrency: number;
  clock: Clock;
  /** The slot that was recorded last for this entry; null: none. */
  loadLastSlot(name: string): Promise<Date | null>;
  /** Makes durable that all slots of this entry up to this one are dealt with, also where that is earlier than before. */
  recordSlot(name: string, slot: Date): Promise<void>;
  /** One job, to its end. */
  runJob(name: string, trigger: DueRun['trigger'], slot: Date, signal: AbortSignal): Promise<void>;
  /** For the log; must not throw. */
  report(event: SchedulerEvent): void;
  /** Handed to every job. Once it is aborted, nothing new is started. */
  signal: AbortSignal;
}

/** The longest sleep. What node-cron or a timer misses, and what a set clock changes, is seen within this time. */
const watchdogMs = 30_000;

/**
 * Runs jobs at their slots, one per entry at a time. Everything that wakes it (node-cron, the watchdog, the end of a job)
 * ends in one tick that never overlaps another; what a tick does is decided by `planTick`.
 */
export class Scheduler {
  readonly #options: SchedulerOptions;
  readonly #state = new ScheduleState();
  readonly #running = new Map<string, Promise<void>>();
  #concurrency: number;
  #waiting: DueRun[] = [];
  #ticking: Promise<void> | null = null;
  #tickAgain = false;
  #isStarted = false;
  #isStopped = false;
  #timer: NodeJS.Timeout | undefined;
  #endWakeUps = () => {};

  constructor(options: SchedulerOptions) {
    this.#options = options;
    this.#concurrency = options.concurrency;
    this.#state.replaceEntries(options.entries, options.clock.now());
  }

  /** Looks at once at what was missed while nobody ran, then runs until `stop`. */
  async start(): Promise<void> {
    this.#isStarted = true;
    this.#wakeAtSlots();
    await this.tick();
  }

  /** The entries of a config that was read again. Jobs at work go on, also those of entries that are gone. */
  replaceEntries(entries: readonly ScheduledEntry[], concurrency = this.#concurrency): void {
    this.#concurrency = concurrency;
    this.#state.replaceEntries(entries, this.#options.clock.now());
    this.#waiting = this.#waiting.filter(({ name }) => this.#state.has(name));
    if (!this.#isStarted || this.#isOver()) return;
    this.#wakeAtSlots();
    this.#wake();
  }

  /** Starts nothing more, and waits for the jobs at work. To end those sooner, abort the signal that they were given. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#endWakeUps();
    clearTimeout(this.#timer);
    await this.#ticking;
    await Promise.all(this.#running.values());
  }

  /** Does what is due now. A call during a tick makes it look once more, and waits for that. */
  tick(): Promise<void> {
    this.#tickAgain = true;
    this.#ticking ??= this.#tickUntilQuiet();
    return this.#ticking;
  }

  async #tickUntilQuiet(): Promise<void> {
    // `#ticking` is set when this first waits, and must not be cleared before that.
    await Promise.resolve();
    let next: Date | null = null;
    try {
      while (this.#tickAgain && !this.#isOver()) {
        this.#tickAgain = false;
        next = await this.#tickOnce();
      }
    } catch (error) {
      this.#options.report({ type: 'tickFailed', error });
    } finally {
      this.#ticking = null;
      this.#sleepUntil(next);
    }
  }

  async #tickOnce(): Promise<Date | null> {
    for (const name of this.#state.unloaded()) await this.#load(name);
    const now = this.#options.clock.now();
    const plan = planTick({
      now,
      entries: this.#state.planned(),
      running: new Set(this.#running.keys()),
      waiting: this.#waiting,
      concurrency: this.#concurrency,
    });
    this.#waiting = plan.waiting;
    for (const held of this.#state.setHeld(plan.held, now)) this.#options.report({ type: 'held', held });
    for (const missed of plan.missed) {
      this.#options.report({ type: 'missed', missed });
      await this.#record(missed.name, missed.upTo);
    }
    for (const run of plan.due) await this.#begin(run);
    return plan.next;
  }

  /**
   * The slot MUST be durably recorded before its job starts: a crash between the two leaves a slot without a run, which
   * is seen, and not a slot that runs again at every start.
   */
  async #begin(run: DueRun): Promise<void> {
    if (this.#isOver() || !this.#state.has(run.name)) return;
    if (!(await this.#record(run.name, run.slot))) {
      this.#waiting.push(run);
      return;
    }
    // Also when it was stopped meanwhile: a recorded slot without a run would be lost, and `stop` waits for this one.
    const job = this.#runJob(run).finally(() => {
      this.#running.delete(run.name);
      this.#wake();
    });
    this.#running.set(run.name, job);
  }

  async #runJob(run: DueRun): Promise<void> {
    try {
      await this.#options.runJob(run.name, run.trigger, run.slot, this.#options.signal);
    } catch (error) {
      this.#options.report({ type: 'jobFailed', run, error });
    }
  }

  /** Without the last slot a slot could run twice: the entry has to wait for a tick that can read it. */
  async #load(name: string): Promise<void> {
    let lastSlot: Date | null;
    try {
      lastSlot = await this.#options.loadLastSlot(name);
    } catch (error) {
      this.#options.report({ type: 'slotNotLoaded', name, error });
      return;
    }
    this.#state.setLastSlot(name, lastSlot);
    // Seen for the first time: from now on its slots are missed, also when we are down at the very first of them.
    const since = this.#state.since(name);
    if (lastSlot === null && since !== undefined) await this.#record(name, since);
  }

  async #record(name: string, slot: Date): Promise<boolean> {
    try {
      await this.#options.recordSlot(name, slot);
      this.#state.setLastSlot(name, slot);
      return true;
    } catch (error) {
      this.#options.report({ type: 'slotNotRecorded', name, slot, error });
      return false;
    }
  }

  #wakeAtSlots(): void {
    this.#endWakeUps();
    this.#endWakeUps = wakeAtSlots(this.#state.configs(), () => this.#wake());
  }

  #sleepUntil(next: Date | null): void {
    clearTimeout(this.#timer);
    if (this.#isOver() || !this.#isStarted) return;
    const untilNextMs = next === null ? watchdogMs : next.getTime() - this.#options.clock.now().getTime();
    this.#timer = setTimeout(() => this.#wake(), Math.max(1, Math.min(untilNextMs, watchdogMs)));
  }

  /** A tick reports its own failures, so nobody has to wait for it. */
  #wake(): void {
    if (!this.#isOver()) void this.tick();
  }

  #isOver(): boolean {
    return this.#isStopped || this.#options.signal.aborted;
  }
}

/** What node-cron has to say of its own: the scheduler sees to missed and late slots itself, and says so. */
const silentLogger: Logger = {
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  debug: () => undefined,
};

/**
 * Calls `wake` at each slot of these schedules, as node-cron sees them: hints and no more, since it loses slots on days
 * on which clocks change, when the event loop was blocked, and when the clock was set. Returns what ends it.
 */
function wakeAtSlots(schedules: { schedule: string; timezone: string }[], wake: () => void): () => void {
  const tasks = new Map<string, ScheduledTask>();
  for (const { schedule: expression, timezone } of schedules) {
    const key = `${expression}\n${timezone}`;
    if (tasks.has(key)) continue;
    tasks.set(
      key,
      schedule(expression, wake, { timezone, suppressMissedWarning: true, logger: silentLogger }),
    );
  }
  return () => {
    for (const task of tasks.values()) void task.destroy();
  };
}
