import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { findGuestProcesses, type GuestProcesses } from '../../src/guest/guest-processes.js';
import { waitUntilDrained, writtenBy } from '../../src/guest/io-drain.js';
import { probeStopped } from '../../src/guest/stop-probe.js';
import { StopAndGo } from '../../src/pause/stop-and-go.js';
import { bootGuest, type RealGuest } from '../support/real-guest.js';
import { runTool } from '../support/run-tool.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';

/** `stopped` does not mean quiet: the I/O helper goes on writing what the guest had queued (uml-facts, fact 2). */

let dir: string;
let guest: RealGuest;
let processes: GuestProcesses;

beforeAll(async () => {
  dir = await makeTempDir();
  guest = await bootGuest({ dir, sizeMiB: 64, writer: 'heavy' });
  const disk = await open(guest.diskPath);
  const file = await disk.stat().finally(() => disk.close());
  processes = await waitFor('the guest of the disk', () => findGuestProcesses([file]));
  await waitFor('heavy writes', async () => (await guest.sh('ls /data')).includes('heavy'));
});
afterAll(async () => {
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
      const atStop = writtenBy(processes.ioTasks);
      expect(await waitUntilDrained(processes.ioTasks, performance.now() + 10_000)).toBe(true);
      const drained = writtenBy(processes.ioTasks);
      if (atStop !== drained) lateRounds += 1;
      const copy = join(dir, 'copy.img');
      await runTool('cp', ['--sparse=always', guest.diskPath, copy]);
      // Writes came as late as 132 ms after the stop.
      await sleep(200);
      expect(writtenBy(processes.ioTasks)).toBe(drained);
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
  const self = `${process.pid}/task/${process.pid}`;
  expect(await waitUntilDrained([self], performance.now() + 50)).toBe(false);
});

test('a drain that is given up does not wait for its end', async () => {
  const self = `${process.pid}/task/${process.pid}`;
  const controller = new AbortController();
  const drained = waitUntilDrained([self], performance.now() + 60_000, controller.signal);
  controller.abort(new Error('given up'));
  await expect(drained).rejects.toThrow('given up');
});
