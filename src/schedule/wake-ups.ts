import { type Logger, type ScheduledTask, schedule } from 'node-cron';

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
export function wakeAtSlots(
  schedules: { schedule: string; timezone: string }[],
  wake: () => void,
): () => void {
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
