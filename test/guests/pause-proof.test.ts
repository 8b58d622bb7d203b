import { spawn } from 'node:child_process';
import { stat } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { guestNamed } from '../../src/config/guest-named.js';
import { loadConfig } from '../../src/config/load-config.js';
import { type Guest, withGuest } from '../../src/guest/guest.js';
import { findGuestProcesses, type GuestProcesses } from '../../src/guest/guest-processes.js';
import { HostView } from '../../src/guest/host-view.js';
import { drain, writtenBy } from '../../src/guest/io-drain.js';
import { syncGuest } from '../../src/guest/sync-guest.js';
import { isConfirmedStopped, probeStopped } from '../../src/guest/stop-probe.js';
import { BlockingConsole } from '../../src/mconsole/blocking-console.js';
import { checkAndCapture, type PauseTerms } from '../../src/pause/pause.js';
import { hostClockMs, PausePage } from '../../src/pause/pause-page.js';
import { sha256sum } from '../image/make-image.js';
import { letCapture, letGoIntoCapture, startHeld } from '../support/held-job.js';
import { pidOf } from '../support/pid-of.js';
import { runTool } from '../support/run-tool.js';
import { capturesAtOnce, expectFailed, resultOf, setScene } from '../support/scene.js';
import { waitFor } from '../support/wait-for.js';

/**
 * What the host sees of a guest, whatever its console says. `stopped` does not mean quiet: the I/O helper goes on writing
 * what the guest had queued (uml-facts, fact 2).
 */

const scene = setScene({ proxied: true, on: 'xfs' });
let processes: GuestProcesses;
let view: HostView;
/** The guest's I/O helper, which can be held apart from the guest: a process of its own up to 6.14. */
let helper: number;

const find = async () => findGuestProcesses([await stat(scene.guest.diskPath)]);

beforeAll(async () => {
  processes = await waitFor('the guest of the disk', find);
  helper = processes.ioTasks[0]?.pid ?? 0;
  expect(processes.main.pid).toBe(scene.guest.pid);
  expect(helper).not.toBe(scene.guest.pid);
  view = new HostView(processes);
});
afterAll(() => view?.close());

test('after the drain no byte of the disk changes until go, under the heaviest writes', async () => {
  const { guest } = scene;
  const write = 'dd if=/dev/urandom of=/data/heavy bs=64k count=16 seek=$((i * 7 % 32 * 16)) conv=notrunc';
  const writes = `i=0; while :; do i=$((i + 1)); ${write}; [ $((i % 8)) = 0 ] && sync; nap 0.02; done`;
  await guest.sh(`(${writes}) > /dev/null 2>&1 & echo $! > /tmp/writer`);
  let lateRounds = 0;
  try {
    for (let round = 0; round < 15; round++) {
      expect(await guest.mconsole('stop')).toBe('stopped');
      const atStop = writtenBy(view);
      expect(drain(view, performance.now() + 30_000, view.look())).toBe(true);
      const drained = writtenBy(view);
      if (atStop !== drained) lateRounds += 1;
      const copy = scene.path('copy.img');
      await runTool('cp', ['--sparse=always', guest.diskPath, copy]);
      // Writes came as late as 132 ms after the stop.
      await sleep(200);
      expect(writtenBy(view)).toBe(drained);
      await runTool('cmp', [guest.diskPath, copy]);
      expect(probeStopped(processes.main)).toBe('stopped');
      expect(await guest.mconsole('go')).toBe('');
      // Some writing between the rounds, so that each stop meets it.
      await waitFor('another write', () => writtenBy(view) !== drained);
    }
  } finally {
    await guest.mconsole('go').catch(() => {});
    await guest.sh('kill $(cat /tmp/writer)');
  }
  console.log(`late writes after ${lateRounds} of 15 stops, none after the drain`);
});

// Its console may be another guest's, and then proves nothing.
test('a guest that its console has stopped is seen to stand still, and one that runs never is', async () => {
  const { guest } = scene;
  const expectSeenRunning = async () => {
    await waitFor('the host to tell', () => probeStopped(processes.main) === 'running');
    expect(isConfirmedStopped(view)).toBe(false);
  };
  await expectSeenRunning();
  await guest.mconsole('stop');
  expect(isConfirmedStopped(view)).toBe(true);
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

test('a helper that can`t be seen through never counts as drained', () => {
  // Our own tasks are on a CPU while they look.
  const self = new HostView({ main: processes.main, ioTasks: [{ pid: process.pid, tid: process.pid }] });
  try {
    expect(drain(self, performance.now() + 50, self.look())).toBe(false);
  } finally {
    self.close();
  }
});

test('a helper that has ended writes nothing any more, and one that was never there neither', async () => {
  const helper = spawn('sleep', ['600'], { stdio: 'ignore' });
  const task = { pid: pidOf(helper), tid: pidOf(helper) };
  const gone = `${task.pid}/task/${task.tid} gone`;
  const kept = new HostView({ main: processes.main, ioTasks: [task] });
  const before = await waitFor('the helper to sleep', () => kept.look().blocked && kept.look());
  expect(before.written).toMatch(/ \d+ \d+$/);
  helper.kill('SIGKILL');
  await waitFor('its end', () => kept.look().written === gone);
  const late = new HostView({ main: processes.main, ioTasks: [task] });
  expect(late.look()).toEqual({ blocked: true, written: gone });
  expect(late.tellsSleepers()).toBe(false);
  for (const open of [kept, late]) open.close();
});

// Here the console lies, an admin comes between, and the I/O helper does not stand still.
describe('a copy counts only if the guest stood still under all of it, by what the host says:', () => {
  afterEach(() => scene.expectWell());

  /** Runs `use` while the helper is held: from then on the guest writes to it, and it does not write to the disk. */
  async function withHelperHeld<T>(use: (letGo: () => void) => Promise<T>): Promise<T> {
    process.kill(helper, 'SIGSTOP');
    const letGo = () => void process.kill(helper, 'SIGCONT');
    return await use(letGo).finally(letGo);
  }

  /** No `go` reaches the guest until the proxy is told to let them pass. */
  const loseEveryGo = () => scene.proxy.drop('go', 10_000, 'request');

  test('what the I/O helper still writes after the stop is waited for and is in the copy, and the sync is asked for before go', async () => {
    const { proxy, guest } = scene;
    // What is written to later is there already: nothing has to be read for that, by a helper that is held.
    await guest.sh('echo early > /data/late; sync');
    const job = await startHeld(scene, [], await scene.variant(capturesAtOnce));
    await proxy.hold('stop');
    await job.letGo();
    await proxy.untilHeld('stop');
    const start = (await proxy.events()).length;
    const [atStop, atGo] = await withHelperHeld(async (letGo) => {
      await guest.sh('(echo later | dd of=/data/late conv=notrunc,fsync) > /dev/null 2>&1 &');
      const waits = async () => !/^nr_writeback 0$/m.test(await guest.sh('cat /proc/vmstat'));
      await waitFor('the guest to wait for its helper', waits);
      const before = await sha256sum(guest.diskPath);
      await loseEveryGo();
      await proxy.release('stop');
      await proxy.untilSeen('proc diskstats', 'answer', start);
      // Who does not wait for the helper has captured by then, or given up.
      await sleep(100);
      letGo();
      await proxy.untilSeen('go', 'request', start);
      return [before, await sha256sum(guest.diskPath)];
    });
    const events = (await proxy.events()).slice(start).map(({ what, command }) => `${what} ${command}`);
    await proxy.release('go');
    const { summary, stderr } = resultOf(await job.cli.exited);
    expect(summary.error, stderr).toBeNull();
    expect(atGo).not.toBe(atStop);
    const stored = (await scene.listed()).find(({ snapshot }) => snapshot === summary.snapshot);
    expect(stored).toMatchObject({ manifest: { disks: [{ sha256: atGo }] } });
    // As the kernel's documentation has it: asked of the stopped guest, it is queued and done right after go.
    const inOrder = ['answer stop', 'request sysrq s', 'request go'];
    expect([...new Set(events)].filter((event) => inOrder.includes(event))).toEqual(inOrder);
  });

  /** What is done with a guest that stands still already, but for its copy. */
  async function workOn(
    limitMs: number,
    choice: Pick<PauseTerms, 'isSmp' | 'readiness'>,
    acceptsDirty: boolean,
  ) {
    const console = await BlockingConsole.open(scene.guest.socketPath);
    const takeRest = () => {
      throw new Error('it was captured');
    };
    const capture = { isCheap: false, takeAhead: () => {}, takeRest, prove: () => {} };
    const page = PausePage.make();
    const marks = { stop: hostClockMs(), check: 0, capture: null, go: 0, over: 0 };
    const synced = { dirtyKib: 0, inFlight: 0, completedWrites: 0, diskWrites: [] };
    try {
      return checkAndCapture(
        { main: processes.main, console, host: view, page, capture },
        {
          ...{ guest: 'debian', devices: ['ubd0'], budgetMs: limitMs, isFrozen: false, goesByFreeze: false },
          ...{ synced, acceptsDirty, ...choice },
        },
        marks,
      );
    } finally {
      console.close();
      page.close();
    }
  }

  const asGuest = async (use: (asked: Guest) => Promise<unknown>) =>
    withGuest(guestNamed(await loadConfig(scene.config), 'debian'), use);

  test('a helper that never stands still is waited for to the end, and named as what kept the guest from being captured', async () => {
    await scene.guest.mconsole('stop');
    try {
      await withHelperHeld(() =>
        expect(workOn(200, { isSmp: false, readiness: { type: 'busy' } }, true)).rejects.toMatchObject({
          ...{ code: 'IoNotDrained', facts: { guest: 'debian' } },
        }),
      );
    } finally {
      await scene.guest.mconsole('go');
    }
  });

  test('a guest with more CPUs than the one that was stopped is never called synced', () =>
    asGuest(async (asked) => {
      const { settled, dirty } = await syncGuest(asked, 60_000, new AbortController().signal);
      expect(settled).toBe(true);
      const readiness = { type: 'clean', completedWrites: dirty.completedWrites } as const;
      await scene.guest.mconsole('stop');
      try {
        const alone = workOn(60_000, { isSmp: false, readiness }, false);
        // It is clean, and so goes on to its copy.
        await expect(alone).rejects.toThrow('it was captured');
        const several = await workOn(60_000, { isSmp: true, readiness }, false);
        expect(several).toMatchObject({ isCaptured: false, look: { consistency: 'crash' } });
      } finally {
        await scene.guest.mconsole('go');
      }
    }));

  test('a console that only says that it has stopped is not believed: the guest runs on, and nothing is kept', async () => {
    const { proxy } = scene;
    // As where the config pairs the console of one guest with the disks of another.
    await proxy.answer('stop', 'stopped', 1);
    await proxy.answer('go', '', 10_000);
    const start = (await proxy.events()).length;
    const summary = expectFailed(await scene.snapshot(), 'GuestNotStopped');
    expect(summary.error?.phase).toBe('check');
    const stops = (await proxy.events()).slice(start).filter(({ command }) => command === 'stop');
    expect(stops.filter(({ passedOn }) => passedOn)).toMatchObject([{ what: 'answer' }]);
    for (const command of ['stop', 'go']) await proxy.release(command);
  });

  test('an admin`s go, a write and a stop during the copy make it void, though the guest stands still again', async () => {
    const { guest } = scene;
    const job = await startHeld(scene, [], await scene.variant({ ...capturesAtOnce, capture: 'copy' }));
    await letGoIntoCapture(job, scene.proxy);
    await guest.mconsole('go');
    await guest.sh('echo between > /data/between; sync');
    await guest.mconsole('stop');
    await letCapture(scene.proxy);
    const { error } = expectFailed(resultOf(await job.cli.exited), 'SourceChanged');
    expect(error?.phase).toBe('capture');
    expect(error?.message).toContain("the guest's I/O helper wrote to it");
  });

  test('a guest that runs when its copy is done was not captured, though it wrote nothing and stands still at go', async () => {
    const { guest, proxy } = scene;
    const job = await startHeld(scene);
    await letGoIntoCapture(job, scene.proxy);
    await guest.mconsole('go');
    const start = (await proxy.events()).length;
    await loseEveryGo();
    await letCapture(scene.proxy);
    await proxy.untilSeen('go', 'request', start);
    await guest.mconsole('stop');
    await proxy.release('go');
    const summary = expectFailed(resultOf(await job.cli.exited), 'GuestNotStopped');
    expect(summary.error?.phase).toBe('capture');
  });
});
