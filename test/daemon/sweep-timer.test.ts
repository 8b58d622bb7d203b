import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { LiveSettings } from '../../src/control/settings.js';
import { SweepTimer } from '../../src/daemon/sweep-timer.js';

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
  const settings = started(60, async () => void sweeps++);
  const sweepsAfter = (seconds: number) => pass(seconds).then(() => sweeps);
  expect(await sweepsAfter(59)).toBe(0);
  expect(await sweepsAfter(61)).toBe(2);
  settings.change({ keep: true });
  expect(await sweepsAfter(3600)).toBe(2);
  settings.change({ keep: false });
  expect(await sweepsAfter(60)).toBe(3);
  settings.change({ delaySeconds: 3600 });
  expect(await sweepsAfter(1800)).toBe(3);
  settings.change({ delaySeconds: 1 });
  expect(await sweepsAfter(1)).toBe(4);
});

test('a sweep that takes long is not overtaken, and is waited for at the end', async () => {
  const events: string[] = [];
  let letGo = () => {};
  const settings = started(1, async () => {
    events.push('begun');
    await new Promise<void>((resolve) => {
      letGo = resolve;
    });
    events.push('ended');
  });
  await pass(1);
  for (const delaySeconds of [2, 1]) settings.change({ delaySeconds });
  await pass(10);
  const stopped = timer?.stop();
  expect(events).toEqual(['begun']);
  letGo();
  await stopped;
  expect(events).toEqual(['begun', 'ended']);
});
