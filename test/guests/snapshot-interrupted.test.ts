import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { canTrace, withInjected } from '../capture/traced.js';
import { type HeldJob, startHeld } from '../snapshot/held-job.js';
import {
  expectNothingLost,
  expectRuns,
  type Records,
  recordsOf,
  resultOf,
  type Scene,
  setScene,
  ticker,
} from '../snapshot/scene.js';
import { type MconsoleProxy, startMconsoleProxy } from '../support/mconsole-proxy.js';
import { bootGuest, type RealGuest } from '../support/real-guest.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';

/** Ctrl-C and SIGTERM in each phase of a snapshot of a real guest: everything begun is undone, the guest resumed first. */

let dir: string;
let guest: RealGuest;
let proxy: MconsoleProxy;
let scene: Scene;
let before: Records;

beforeAll(async () => {
  dir = await makeTempDir();
  guest = await bootGuest({ dir, writer: 'none', fillMiB: 16, rc: ticker });
  proxy = await startMconsoleProxy({ listenPath: join(dir, 'proxy'), guestSocketPath: guest.socketPath });
  const settings = { pauseBudget: '30s', capture: 'copy' };
  scene = await setScene({ dir, mconsole: proxy.socketPath, disks: guest.disks, settings });
  expect((await scene.snapshot()).exitCode).toBe(3);
  before = await recordsOf(scene);
});
afterAll(async () => {
  await proxy?.close();
  await guest?.kill();
  await removeTempDir(dir);
});

type Running = Pick<HeldJob, 'cli'>;

async function expectInterrupted({ cli }: Running, signal: string, phase: string): Promise<void> {
  const { exitCode, summary } = resultOf(await cli.exited);
  expect(summary, cli.stderr()).toMatchObject({
    ...{ status: 'interrupted', resumed: true, snapshot: null },
    error: { code: 'Interrupted', phase, message: expect.stringContaining(signal) },
  });
  expect(exitCode).toBe(130);
  await expectRuns(guest);
  const after = await expectNothingLost(scene, before);
  expect(after.sound).toEqual(before.sound);
  expect(JSON.parse(after.jobs.get(String(summary.job)) ?? '{}')).toMatchObject({
    status: 'interrupted',
    error: { phase },
  });
  before = after;
}

/** Holds the job with its guest paused: `stop` has been answered, and the capture does not end. */
async function pausedInCapture(): Promise<HeldJob> {
  const job = await startHeld(scene, proxy);
  process.kill(job.captureChild, 'SIGSTOP');
  const seen = (await proxy.events()).length;
  await job.letGo();
  await waitFor('the guest to be paused and asked for its dirty pages', async () => {
    const asked = (await proxy.events()).slice(seen).map(({ command }) => command);
    return asked.slice(asked.indexOf('stop')).includes('proc diskstats') && asked.includes('stop');
  });
  return job;
}

describe.each(['SIGINT', 'SIGTERM'] as const)('%s', (signal) => {
  test('in preflight leaves the guest untouched', async () => {
    await proxy.hold('proc cpuinfo');
    const cli = scene.start(['snapshot', 'debian', '--json']);
    await cli.waitForOutput(/"phase":"preflight"/);
    cli.kill(signal);
    await cli.waitForOutput(/undoing what was begun/);
    await proxy.release('proc cpuinfo');
    await expectInterrupted({ cli }, signal, 'preflight');
  });

  test('in quiesce leaves the guest running', async () => {
    const job = await startHeld(scene, proxy);
    job.cli.kill(signal);
    await job.cli.waitForOutput(/undoing what was begun/);
    await job.letGo();
    await expectInterrupted(job, signal, 'quiesce');
  });

  test('while `stop` is on its way resumes the guest when it has come', async () => {
    const job = await startHeld(scene, proxy);
    await proxy.hold('stop');
    const seen = (await proxy.events()).length;
    await job.letGo();
    await job.leased();
    await waitFor('the proxy to have `stop`, and nothing else to pass', nothingPasses);
    job.cli.kill(signal);
    await waitFor('a go, sent though the stop is out', async () =>
      (await proxy.events()).slice(seen).some(({ command }) => command === 'go'),
    );
    await proxy.release('stop');
    await expectInterrupted(job, signal, 'stop');
  });

  test('while the guest is paused resumes it first', async () => {
    const job = await pausedInCapture();
    const pausesBefore = (await proxy.pauses()).length;
    const sentAtMs = performance.now();
    job.cli.kill(signal);
    await waitFor('the guest to be resumed', async () => (await proxy.pauses()).length > pausesBefore);
    // Its budget is 30 s.
    expect(performance.now() - sentAtMs).toBeLessThan(5_000);
    await expectInterrupted(job, signal, 'capture');
  });

  test('while `go` is on its way ends only after it has come', async () => {
    const job = await startHeld(scene, proxy);
    const seen = (await proxy.events()).length;
    await proxy.drop('go', 6, 'request');
    await job.letGo();
    await waitFor('a go', async () =>
      (await proxy.events()).slice(seen).some(({ command }) => command === 'go'),
    );
    job.cli.kill(signal);
    const { summary } = resultOf(await job.cli.exited);
    expect(summary).toMatchObject({ status: 'interrupted', resumed: true });
    await expectRuns(guest);
    before = await expectNothingLost(scene, before);
  });
});

/** Nothing has passed the proxy for longer than the guest's settling pauses between its requests. */
async function nothingPasses(): Promise<boolean> {
  const last = (await proxy.events()).at(-1)?.atMs ?? 0;
  return Number(process.hrtime.bigint()) / 1e6 - last > 300;
}

const traceable = await canTrace();
describe.skipIf(!traceable)(
  `a signal in seal${traceable ? '' : ' (skipped: strace is missing or may not trace)'}`,
  () => {
    test.each(['SIGINT', 'SIGTERM'] as const)('by %s leaves no snapshot', async (signal) => {
      const job = await startHeld(scene, proxy);
      const image = join(job.incoming, 'ubd0.img');
      // In the middle of the seal: at the fsync of the image.
      const slow = ['fsync:delay_enter=1500000'];
      await withInjected(
        job.cli.pid,
        slow,
        async () => {
          await job.letGo();
          await job.cli.waitForOutput(/"phase":"seal"/);
          job.cli.kill(signal);
          await job.cli.exited;
        },
        image,
      );
      await expectInterrupted(job, signal, 'seal');
    });
  },
);

test('a second Ctrl-C, and a third, change nothing: undoing is not left half done', async () => {
  const job = await pausedInCapture();
  for (let times = 0; times < 3; times++) job.cli.kill('SIGINT');
  await expectInterrupted(job, 'SIGINT', 'capture');
});
