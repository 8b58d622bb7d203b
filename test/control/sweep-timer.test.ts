import { afterEach, expect, test } from 'vitest';
import { LiveSettings } from '../../src/control/settings.js';
import { SweepTimer } from '../../src/control/sweep-timer.js';
import { waitFor } from '../support/wait-for.js';

let timer: SweepTimer | undefined;
afterEach(() => timer?.stop());

test('it sweeps again and again, not while `keep` is on, and again once it is off', async () => {
  const settings = new LiveSettings({ delaySeconds: 1 });
  let sweeps = 0;
  timer = new SweepTimer(settings, async () => {
    sweeps += 1;
  });
  timer.start();
  await waitFor('two sweeps', () => sweeps >= 2);
  settings.change({ keep: true });
  const kept = sweeps;
  await new Promise((resolve) => setTimeout(resolve, 2500));
  expect(sweeps).toBe(kept);
  settings.change({ keep: false });
  await waitFor('a sweep', () => sweeps > kept);
});

test('a new delay counts at once, however long the old one was', async () => {
  const settings = new LiveSettings({ delaySeconds: 3600 });
  let sweeps = 0;
  timer = new SweepTimer(settings, async () => {
    sweeps += 1;
  });
  timer.start();
  settings.change({ delaySeconds: 1 });
  await waitFor('a sweep', () => sweeps > 0);
});

test('a sweep that takes long is not overtaken, and is waited for at the end', async () => {
  const settings = new LiveSettings({ delaySeconds: 1 });
  let atWork = 0;
  let most = 0;
  let ended = 0;
  let letGo = () => {};
  timer = new SweepTimer(settings, async () => {
    atWork += 1;
    most = Math.max(most, atWork);
    await new Promise<void>((resolve) => {
      letGo = resolve;
    });
    atWork -= 1;
    ended += 1;
  });
  timer.start();
  await waitFor('a sweep', () => atWork > 0);
  settings.change({ delaySeconds: 2 });
  settings.change({ delaySeconds: 1 });
  await new Promise((resolve) => setTimeout(resolve, 2500));
  expect(most).toBe(1);
  const stopped = timer.stop();
  expect(ended).toBe(0);
  letGo();
  await stopped;
  expect(ended).toBe(1);
});
