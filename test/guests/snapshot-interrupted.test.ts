import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { canTrace, withInjected } from '../capture/traced.js';
import type { RunningCli } from '../support/cli.js';
import { beforeGo, type HeldJob, startHeld } from '../support/held-job.js';
import { resultOf, setScene } from '../support/scene.js';
import { waitFor } from '../support/wait-for.js';

/** Ctrl-C and SIGTERM in each phase of a snapshot of a real guest: everything begun is undone, the guest resumed first. */

const scene = setScene({ guest: { fillMiB: 16 }, proxied: true, settings: { capture: 'copy' } });
// What none of those that are given up may take.
beforeAll(async () => {
  expect((await scene.snapshot()).exitCode).toBe(3);
  await scene.expectWell();
});

async function interrupt(cli: RunningCli, signal: NodeJS.Signals): Promise<void> {
  cli.kill(signal);
  await cli.waitForOutput(/undoing what was begun/);
}

async function expectInterrupted(cli: RunningCli, signal: NodeJS.Signals, phase: unknown): Promise<void> {
  const { exitCode, summary } = resultOf(await cli.exited);
  const error = { code: 'Interrupted', phase, message: expect.stringContaining(signal) };
  expect(summary, cli.stderr()).toMatchObject({
    status: 'interrupted',
    resumed: true,
    snapshot: null,
    error,
  });
  expect(exitCode).toBe(130);
  await scene.expectUnharmed();
  expect(await scene.newestJob()).toMatchObject({
    job: summary.job,
    status: 'interrupted',
    error: { phase },
  });
}

/** What the guest is asked from now on, or passes by. */
async function askedFromNow(): Promise<() => Promise<string[]>> {
  const seen = (await scene.proxy.events()).length;
  return async () => (await scene.proxy.events()).slice(seen).map(({ command }) => command);
}

/** Holds the job with its guest paused: `stop` has been answered, and the capture does not end. */
async function pausedInCapture(): Promise<HeldJob> {
  const job = await startHeld(scene);
  process.kill(job.captureChild, 'SIGSTOP');
  const asked = await askedFromNow();
  await job.letGo();
  await waitFor('the guest to be paused and asked for its dirty pages', async () => {
    const commands = await asked();
    return commands.includes('stop') && commands.slice(commands.indexOf('stop')).includes('proc diskstats');
  });
  return job;
}

const traceable = await canTrace();
describe('a signal', () => {
  test('in preflight leaves the guest untouched', async () => {
    const asked = await askedFromNow();
    await scene.proxy.hold('proc cpuinfo');
    const cli = scene.startSnapshot();
    await scene.proxy.untilHeld('proc cpuinfo');
    await interrupt(cli, 'SIGINT');
    await scene.proxy.release('proc cpuinfo');
    await expectInterrupted(cli, 'SIGINT', 'preflight');
    expect(await asked()).not.toContain('stop');
  });

  test('in quiesce leaves the guest running', async () => {
    const asked = await askedFromNow();
    const job = await startHeld(scene);
    await interrupt(job.cli, 'SIGTERM');
    await job.letGo();
    await expectInterrupted(job.cli, 'SIGTERM', 'quiesce');
    expect(await asked()).not.toContain('stop');
  });

  test('while `stop` is on its way resumes the guest when it has come', async () => {
    const job = await startHeld(scene);
    await scene.proxy.hold('stop');
    const asked = await askedFromNow();
    await job.letGo();
    await scene.proxy.untilHeld('stop');
    job.cli.kill('SIGINT');
    await waitFor('a go, sent though the stop is out', async () => (await asked()).includes('go'));
    await scene.proxy.release('stop');
    await expectInterrupted(job.cli, 'SIGINT', 'stop');
  });

  // More of them change nothing: undoing is not left half done.
  test.each([
    ['SIGTERM', 1],
    ['SIGINT', 3],
  ] as const)('while the guest is paused resumes it first: %s, sent %i times', async (signal, times) => {
    const job = await pausedInCapture();
    const pausesBefore = (await scene.proxy.pauses()).length;
    for (let sent = 0; sent < times; sent++) job.cli.kill(signal);
    // Its budget is longer than this is waited for.
    await waitFor('the guest to be resumed', async () => (await scene.proxy.pauses()).length > pausesBefore);
    await expectInterrupted(job.cli, signal, 'capture');
  });

  test('while `go` is on its way ends only after it has come', async () => {
    const job = await startHeld(scene);
    let hasEnded = false;
    void job.cli.exited.then(() => {
      hasEnded = true;
    });
    await beforeGo(job, scene.proxy, async () => {
      await interrupt(job.cli, 'SIGTERM');
      const asked = await askedFromNow();
      await waitFor('another go', async () => (await asked()).includes('go'));
      expect(hasEnded).toBe(false);
    });
    await expectInterrupted(job.cli, 'SIGTERM', expect.anything());
  });

  test.skipIf(!traceable)(
    `in seal leaves no snapshot${traceable ? '' : ' (skipped: strace is missing or may not trace)'}`,
    async () => {
      const job = await startHeld(scene);
      const image = join(job.incoming, 'ubd0.img');
      // In the middle of the seal: at the fsync of the image, which lasts for as long as it is traced.
      const slow = ['fsync:delay_enter=60000000'];
      const untilTold = async () => {
        await job.letGo();
        await job.cli.waitForOutput(/"phase":"seal"/);
        await interrupt(job.cli, 'SIGTERM');
      };
      await withInjected(job.cli.pid, slow, untilTold, image);
      await expectInterrupted(job.cli, 'SIGTERM', 'seal');
    },
  );
});
