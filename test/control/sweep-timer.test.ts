import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { LiveSettings } from '../../src/control/settings.js';
import { SweepTimer } from '../../src/control/sweep-timer.js';

/** Time goes on when a test says so. */
const pass = (seconds: number) => vi.advanceTimersByTimeAsync(seconds * 1000);

let timer: SweepTimer | undefined;
beforeEach(() => void vi.useFakeTimers());
afterEach(async () => {
  await timer?.stop();
  vi.useRealTimers();
});

function started(delaySeconds: number, sweep: () => Promise<void>): LiveSettings {
  const settings = new LiveSettings({ delaySeconds });
  timer = new SweepTimer(settings, sweep);
  timer.start();
  return settings;
}

test('it sweeps again and again, not while `keep` is on, again once it is off, and by a new delay at once', async () => {
  let sweeps = 0;
  const settings = started(60, async () => {
    sweeps += 1;
  });
  await pass(59);
  expect(sweeps).toBe(0);
  await pass(61);
  expect(sweeps).toBe(2);
  settings.change({ keep: true });
  await pass(3600);
  expect(sweeps).toBe(2);
  settings.change({ keep: false });
  await pass(60);
  expect(sweeps).toBe(3);
  settings.change({ delaySeconds: 3600 });
  await pass(1800);
  settings.change({ delaySeconds: 1 });
  await pass(1);
  expect(sweeps).toBe(4);
});

test('a sweep that takes long is not overtaken, and is waited for at the end', async () => {
  let begun = 0;
  let ended = 0;
  let letGo = () => {};
  const settings = started(1, async () => {
    begun += 1;
    await new Promise<void>((resolve) => {
      letGo = resolve;
    });
    ended += 1;
  });
  await pass(1);
  settings.change({ delaySeconds: 2 });
  settings.change({ delaySeconds: 1 });
  await pass(10);
  expect(begun).toBe(1);
  const stopped = timer?.stop();
  expect(ended).toBe(0);
  letGo();
  await stopped;
  expect(ended).toBe(1);
});
