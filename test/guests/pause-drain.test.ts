import { spawn } from 'node:child_process';
import { stat } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { findGuestProcesses, type GuestProcesses } from '../../src/guest/guest-processes.js';
import { HostView } from '../../src/guest/host-view.js';
import { waitUntilDrained, writtenBy } from '../../src/guest/io-drain.js';
import { confirmStopped, probeStopped } from '../../src/guest/stop-probe.js';
import { StopAndGo } from '../../src/pause/stop-and-go.js';
import { pidOf } from '../support/pid-of.js';
import { runTool } from '../support/run-tool.js';
import { expectRuns, setScene } from '../support/scene.js';
import { waitFor } from '../support/wait-for.js';

/**
 * What the host sees of a guest, whatever its console says. `stopped` does not mean quiet: the I/O helper goes on writing
 * what the guest had queued (uml-facts, fact 2).
 */

const scene = setScene({ guest: { writer: 'heavy' } });
let processes: GuestProcesses;
let view: HostView;

const find = async () => findGuestProcesses([await stat(scene.guest.diskPath)]);

beforeAll(async () => {
  processes = await waitFor('the guest of the disk', find);
  view = new HostView(processes);
  await waitFor('heavy writes', async () => (await scene.guest.sh('ls /data')).includes('heavy'));
});
afterAll(() => view?.close());

test('a guest is found by its disk: the process that runs its kernel, and the helper that writes its disks', () => {
  expect(processes.main.pid).toBe(scene.guest.pid);
  expect(processes.ioTasks.length).toBeGreaterThan(0);
});

test('after the drain no byte of the disk changes until go, under the heaviest writes', async () => {
  const { guest } = scene;
  const stopAndGo = await StopAndGo.open({ socketPath: guest.socketPath, main: processes.main });
  let lateRounds = 0;
  try {
    for (let round = 0; round < 15; round++) {
      expect(await stopAndGo.stop(30_000)).toBe('stopped');
      const atStop = writtenBy(view);
      expect(await waitUntilDrained(view, performance.now() + 30_000)).toBe(true);
      const drained = writtenBy(view);
      if (atStop !== drained) lateRounds += 1;
      const copy = scene.path('copy.img');
      await runTool('cp', ['--sparse=always', guest.diskPath, copy]);
      // Writes came as late as 132 ms after the stop.
      await sleep(200);
      expect(writtenBy(view)).toBe(drained);
      await runTool('cmp', [guest.diskPath, copy]);
      expect(probeStopped(processes.main)).toBe('stopped');
      expect(await stopAndGo.resume(5_000)).toMatchObject({ over: 'resumed' });
      // Some writing between the rounds, so that each stop meets it.
      await waitFor('another write', () => writtenBy(view) !== drained);
    }
  } finally {
    await stopAndGo.resume(5_000);
    stopAndGo.close();
  }
  console.log(`late writes after ${lateRounds} of 15 stops, none after the drain`);
  await expectRuns(guest);
  // What writes and counts is a part of its boot script; what follows needs none of it.
  await guest.sh("grep -l '[e]tc/rc' /proc/[0-9]*/cmdline | cut -d / -f 3 | xargs kill");
});

// Its console may be another guest's, and then proves nothing.
test('a guest that its console has stopped is seen to stand still, and one that runs never is', async () => {
  const { guest } = scene;
  const expectSeenRunning = async () => {
    await waitFor('the host to tell', () => probeStopped(processes.main) === 'running');
    expect(await confirmStopped(view)).toBe(false);
  };
  await expectSeenRunning();
  await guest.mconsole('stop');
  expect(await confirmStopped(view)).toBe(true);
  await guest.mconsole('go');
  await expectSeenRunning();
});

test("guest processes that come and go are not taken for the guest's helper, which would then be missed", async () => {
  await scene.guest.sh('(while :; do /bin/true; done) > /dev/null 2>&1 & echo $! > /tmp/forks');
  try {
    for (let looks = 0; looks < 40; looks++) {
      expect((await find())?.ioTasks).toEqual(processes.ioTasks);
    }
  } finally {
    await scene.guest.sh('kill $(cat /tmp/forks)');
  }
});

test('a helper that can`t be seen through never counts as drained, and a drain that is given up does not wait for its end', async () => {
  // Our own tasks are on a CPU while they look.
  const self = new HostView({ main: processes.main, ioTasks: [`${process.pid}/task/${process.pid}`] });
  try {
    expect(await waitUntilDrained(self, performance.now() + 50)).toBe(false);
    const controller = new AbortController();
    const drained = waitUntilDrained(self, performance.now() + 60_000, controller.signal);
    controller.abort(new Error('given up'));
    await expect(drained).rejects.toThrow('given up');
  } finally {
    self.close();
  }
});

test('a helper that has ended writes nothing any more, and one that was never there neither', async () => {
  const helper = spawn('sleep', ['600'], { stdio: 'ignore' });
  const task = `${pidOf(helper)}/task/${pidOf(helper)}`;
  const kept = new HostView({ main: processes.main, ioTasks: [task] });
  const before = await waitFor('the helper to sleep', () => kept.look().blocked && kept.look());
  expect(before.written).toMatch(/ \d+ \d+$/);
  helper.kill('SIGKILL');
  await waitFor('its end', () => kept.look().written === `${task} gone`);
  const late = new HostView({ main: processes.main, ioTasks: [task] });
  expect(late.look()).toEqual({ blocked: true, written: `${task} gone` });
  expect(late.tellsSleepers()).toBe(false);
  for (const open of [kept, late]) open.close();
});
