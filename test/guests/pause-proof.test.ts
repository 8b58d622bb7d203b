import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readlink, stat } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeAll, expect, test } from 'vitest';
import { guestNamed } from '../../src/config/guest-named.js';
import { loadConfig } from '../../src/config/load-config.js';
import { withGuest } from '../../src/guest/guest.js';
import { findGuestProcesses, type GuestProcesses } from '../../src/guest/guest-processes.js';
import { withHostView } from '../../src/guest/host-view.js';
import { captureWhilePaused } from '../../src/snapshot/capture-paused.js';
import { PhaseJournal } from '../../src/snapshot/phase-journal.js';
import { startHeld } from '../support/held-job.js';
import type { What } from '../support/mconsole-proxy-messages.js';
import { runTool } from '../support/run-tool.js';
import { expectFailed, resultOf, setScene } from '../support/scene.js';
import { waitFor } from '../support/wait-for.js';

/**
 * A copy counts only if the guest stood still under all of it, and that is for the host to say, not for the console. Here the
 * console lies, an admin comes between, and the I/O helper does not stand still.
 */

const scene = setScene({ proxied: true, on: 'xfs' });
let processes: GuestProcesses;
/** The guest's I/O helper, which can be held apart from the guest: a process of its own up to 6.14. */
let helper: number;

beforeAll(async () => {
  const file = await stat(scene.guest.diskPath);
  processes = await waitFor('the guest of the disk', () => findGuestProcesses([file]));
  helper = Number(processes.ioTasks[0]?.split('/')[0]);
  expect(helper).not.toBe(scene.guest.pid);
});
afterEach(() => scene.expectWell());

async function sha256OfDisk(): Promise<string> {
  const hash = createHash('sha256');
  for await (const piece of createReadStream(scene.guest.diskPath)) hash.update(piece as Buffer);
  return hash.digest('hex');
}

/** Runs `use` while the helper is held: from then on the guest writes to it, and it does not write to the disk. */
async function withHelperHeld<T>(use: (letGo: () => void) => Promise<T>): Promise<T> {
  process.kill(helper, 'SIGSTOP');
  const letGo = () => void process.kill(helper, 'SIGCONT');
  return await use(letGo).finally(letGo);
}

async function untilSeen(start: number, command: string, what: What): Promise<void> {
  const isIt = (event: { command: string; what: What }) => event.command === command && event.what === what;
  const seen = async () => (await scene.proxy.events()).slice(start).some(isIt);
  await waitFor(`${what} of ${command}`, seen, { everyMs: 5 });
}

/** No `go` reaches the guest until the proxy is told to let them pass. */
const loseEveryGo = () => scene.proxy.drop('go', 10_000, 'request');

test('what the I/O helper still writes after the stop is waited for and is in the copy, and the sync is asked for before go', async () => {
  const { proxy, guest } = scene;
  // What is written to later is there already: nothing has to be read for that, by a helper that is held.
  await guest.sh('echo early > /data/late; sync');
  const job = await startHeld(scene, [], await scene.variant({ require: 'crash', syncTries: 1 }));
  await proxy.hold('stop');
  await job.letGo();
  await proxy.untilHeld('stop');
  const start = (await proxy.events()).length;
  const [atStop, atGo] = await withHelperHeld(async (letGo) => {
    await guest.sh('(echo later | dd of=/data/late conv=notrunc,fsync) > /dev/null 2>&1 &');
    const waits = async () => !/^nr_writeback 0$/m.test(await guest.sh('cat /proc/vmstat'));
    await waitFor('the guest to wait for its helper', waits);
    const before = await sha256OfDisk();
    await loseEveryGo();
    await proxy.release('stop');
    await untilSeen(start, 'proc diskstats', 'answer');
    // Who does not wait for the helper has captured by then, or given up.
    await sleep(100);
    letGo();
    await untilSeen(start, 'go', 'request');
    return [before, await sha256OfDisk()];
  });
  const events = (await proxy.events()).slice(start).map(({ what, command }) => `${what} ${command}`);
  await proxy.release('go');
  const { summary, stderr } = resultOf(await job.cli.exited);
  expect(summary.error, stderr).toBeNull();
  expect(atGo).not.toBe(atStop);
  const stored = (await scene.listed()).find(({ snapshot }) => snapshot === summary.snapshot);
  expect(stored).toMatchObject({ manifest: { disks: [{ sha256: atGo }] } });
  // As the kernel's documentation has it: asked of the stopped guest, it is queued and done right after go.
  const [stopped, synced, gone] = ['answer stop', 'request sysrq s', 'request go'].map((event) =>
    events.indexOf(event),
  );
  expect(stopped).toBeGreaterThanOrEqual(0);
  expect(synced).toBeGreaterThan(stopped ?? Number.NaN);
  expect(gone).toBeGreaterThan(synced ?? Number.NaN);
});

test('a helper that never stands still is waited for to the end of the budget, and nothing is captured', async () => {
  const { proxy } = scene;
  const job = await startHeld(scene, ['--budget', '300ms']);
  await proxy.hold('stop');
  await job.letGo();
  await proxy.untilHeld('stop');
  const summary = await withHelperHeld(async () => {
    await proxy.release('stop');
    return expectFailed(resultOf(await job.cli.exited), 'PauseBudgetExceeded');
  });
  expect(summary.error).toMatchObject({ phase: 'sync' });
});

test('a helper that never stands still is named as what kept the guest from being captured', async () => {
  const { guest } = scene;
  const config = guestNamed(await loadConfig(scene.config), 'debian');
  const journal = new PhaseJournal(
    'job',
    { recordPhase: async () => {} },
    () => {},
    () => {},
  );
  const capture = {
    ...{ method: 'copy' as const, catchUp: async () => {}, facts: () => ({}), dispose: async () => {} },
    run: () => Promise.reject(new Error('it was captured')),
  };
  await guest.mconsole('stop');
  try {
    await withHelperHeld(() =>
      withGuest(config, (asked) =>
        withHostView(processes, async (view) => {
          const paused = { signal: new AbortController().signal, deadlineMs: performance.now() + 200 };
          const work = { guest: asked, processes, view, capture, journal, isSmp: false, acceptsDirty: true };
          const capturing = captureWhilePaused(paused, work);
          await expect(capturing).rejects.toMatchObject({ code: 'IoNotDrained', facts: { guest: 'debian' } });
        }),
      ),
    );
  } finally {
    await guest.mconsole('go');
  }
});

test('a console that only says that it has stopped is not believed: the guest runs on, and nothing is kept', async () => {
  const { proxy } = scene;
  // As where the config pairs the console of one guest with the disks of another.
  await proxy.answer('stop', 'stopped', 1);
  await proxy.answer('go', '', 10_000);
  const start = (await proxy.events()).length;
  const summary = expectFailed(await scene.snapshot(), 'GuestNotStopped');
  expect(summary.error).toMatchObject({ phase: 'sync' });
  const events = (await proxy.events()).slice(start);
  expect(events.filter(({ command, passedOn }) => command === 'stop' && passedOn)).toMatchObject([
    { what: 'answer' },
  ]);
  for (const command of ['stop', 'go']) await proxy.release(command);
});

/** The copier has its word, and is held before it hears it: the guest stands still, and none of it is copied. */
async function heldInCapture() {
  const job = await startHeld(scene);
  process.kill(job.captureChild, 'SIGSTOP');
  await job.letGo();
  const channel = /\d+/.exec(await readlink(`/proc/${job.captureChild}/fd/3`))?.[0];
  const unread = async () => {
    const sockets = (await runTool('ss', ['-H', '-x', '-a'])).toString().split('\n');
    const fields = sockets.map((line) => line.trim().split(/\s+/));
    return Number(fields.find((field) => field[5] === channel)?.[2]) > 0;
  };
  await waitFor('the order to capture', unread, { everyMs: 20 });
  return job;
}

test('an admin`s go, a write and a stop during the copy make it void, though the guest stands still again', async () => {
  const { guest } = scene;
  const job = await heldInCapture();
  await guest.mconsole('go');
  await guest.sh('echo between > /data/between; sync');
  await guest.mconsole('stop');
  process.kill(job.captureChild, 'SIGCONT');
  const summary = expectFailed(resultOf(await job.cli.exited), 'SourceChanged');
  expect(summary.error).toMatchObject({ phase: 'capture' });
  expect(summary.error?.message).toContain("the guest's I/O helper wrote to it");
});

test('a guest that runs when its copy is done was not captured, though it wrote nothing and stands still at go', async () => {
  const { guest, proxy } = scene;
  const job = await heldInCapture();
  await guest.mconsole('go');
  const start = (await proxy.events()).length;
  await loseEveryGo();
  process.kill(job.captureChild, 'SIGCONT');
  await untilSeen(start, 'go', 'request');
  await guest.mconsole('stop');
  await proxy.release('go');
  const summary = expectFailed(resultOf(await job.cli.exited), 'GuestNotStopped');
  expect(summary.error).toMatchObject({ phase: 'capture' });
});
