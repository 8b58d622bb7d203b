import { spawn } from 'node:child_process';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { findGuestProcesses, type GuestProcesses } from '../../src/guest/guest-processes.js';
import { HostView } from '../../src/guest/host-view.js';
import { waitUntilDrained, writtenBy } from '../../src/guest/io-drain.js';
import { probeStopped } from '../../src/guest/stop-probe.js';
import { StopAndGo } from '../../src/pause/stop-and-go.js';
import { pidOf } from '../support/pid-of.js';
import { bootGuest, type RealGuest } from '../support/real-guest.js';
import { runTool } from '../support/run-tool.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';

/** `stopped` does not mean quiet: the I/O helper goes on writing what the guest had queued (uml-facts, fact 2). */

let dir: string;
let guest: RealGuest;
let processes: GuestProcesses;
let view: HostView;

beforeAll(async () => {
  dir = await makeTempDir();
  guest = await bootGuest({ dir, sizeMiB: 64, writer: 'heavy' });
  const disk = await open(guest.diskPath);
  const file = await disk.stat().finally(() => disk.close());
  processes = await waitFor('the guest of the disk', () => findGuestProcesses([file]));
  view = new HostView(processes);
  await waitFor('heavy writes', async () => (await guest.sh('ls /data')).includes('heavy'));
});
afterAll(async () => {
  view?.close();
  await guest.kill();
  await removeTempDir(dir);
});

test('a real guest is found by its disk: its main process, and a helper to drain', () => {
  expect(processes.main.pid).toBe(guest.pid);
  expect(processes.ioTasks.length).toBeGreaterThan(0);
});

test('after the drain no byte of the disk changes until go, under the heaviest writes', async () => {
  const stopAndGo = await StopAndGo.open({ socketPath: guest.socketPath, main: processes.main });
  let lateRounds = 0;
  try {
    for (let round = 0; round < 15; round++) {
      expect(await stopAndGo.stop(10_000)).toBe('stopped');
      const atStop = writtenBy(view);
      expect(await waitUntilDrained(view, performance.now() + 10_000)).toBe(true);
      const drained = writtenBy(view);
      if (atStop !== drained) lateRounds += 1;
      const copy = join(dir, 'copy.img');
      await runTool('cp', ['--sparse=always', guest.diskPath, copy]);
      // Writes came as late as 132 ms after the stop.
      await sleep(200);
      expect(writtenBy(view)).toBe(drained);
      await runTool('cmp', [guest.diskPath, copy]);
      expect(probeStopped(processes.main)).toBe('stopped');
      expect(await stopAndGo.resume(5_000)).toMatchObject({ over: 'resumed' });
      // Some writing between the rounds, so that each stop meets it.
      await sleep(100);
    }
  } finally {
    await stopAndGo.resume(5_000);
    stopAndGo.close();
  }
  console.log(`late writes after ${lateRounds} of 15 stops, none after the drain`);
  expect(await guest.sh('echo running')).toBe('running');
});

test('a helper that can`t be seen through never counts as drained', async () => {
  // Our own tasks are on a CPU while they look.
  await withViewOfSelf(async (self) => {
    expect(await waitUntilDrained(self, performance.now() + 50)).toBe(false);
  });
});

test('a drain that is given up does not wait for its end', async () => {
  await withViewOfSelf(async (self) => {
    const controller = new AbortController();
    const drained = waitUntilDrained(self, performance.now() + 60_000, controller.signal);
    controller.abort(new Error('given up'));
    await expect(drained).rejects.toThrow('given up');
  });
});

test('a helper that has ended writes nothing any more, and one that was never there neither', async () => {
  const helper = spawn('sleep', ['600'], { stdio: 'ignore' });
  const pid = pidOf(helper);
  const kept = new HostView({ main: processes.main, ioTasks: [`${pid}/task/${pid}`] });
  const asleep = () => kept.look().blocked && kept.look();
  const before = await waitFor('the helper to sleep', asleep);
  expect(before.written).toMatch(/ \d+ \d+$/);
  helper.kill('SIGKILL');
  await waitFor('its end', () => kept.look().written === `${pid}/task/${pid} gone`);
  const late = new HostView({ main: processes.main, ioTasks: [`${pid}/task/${pid}`] });
  expect(late.look()).toEqual({ blocked: true, written: `${pid}/task/${pid} gone` });
  expect(late.tellsSleepers()).toBe(false);
  for (const open of [kept, late]) open.close();
});

async function withViewOfSelf(use: (self: HostView) => Promise<void>): Promise<void> {
  const self = new HostView({ main: processes.main, ioTasks: [`${process.pid}/task/${process.pid}`] });
  await use(self).finally(() => self.close());
}
