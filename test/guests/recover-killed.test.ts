import { statSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { canTrace, withInjected } from '../capture/traced.js';
import { type HeldJob, killInPause, resumeHeld, startHeld, startHeldInPause } from '../support/held-job.js';
import { expectRuns, resultOf, setScene } from '../support/scene.js';
import { waitFor } from '../support/wait-for.js';

/** What a killed job leaves behind, and what `recover` makes of it. */

const scene = setScene({ on: 'xfs', proxied: true, guest: { fillMiB: 24 } });
beforeAll(async () => {
  expect(await scene.snapshot()).toMatchObject({ exitCode: 0, stderr: '' });
  await scene.expectWell();
});

const pausesOfNewestJob = () =>
  scene.withHistory(async (history) => {
    const [newest] = await history.jobs({ limit: 1 });
    return (newest && (await history.job(newest.job))?.pauses) ?? [];
  });

/** A job that was killed is closed by one recover, whose second run finds nothing. */
async function expectRecovered(told: Record<string, unknown> = {}): Promise<void> {
  const { job } = await scene.newestJob();
  expect(await scene.incomings()).toHaveLength(1);
  const { exitCode, stderr, json } = await scene.run('recover', '--json');
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
  const closed = { closedJobs: [job], discarded: [`debian/${job}`], mayBePaused: [], problems: [] };
  expect(json).toEqual([expect.objectContaining({ ...closed, ...told })]);
  expect(await scene.newestJob()).toMatchObject({
    ...{ job, status: 'interrupted', error: { code: 'Interrupted' } },
  });
  const again = await scene.run('recover');
  expect(again).toMatchObject({ exitCode: 0, stdout: 'Nothing to recover.\n', stderr: '' });
  await scene.expectUnharmed();
}

const traceable = await canTrace();
if (!traceable)
  console.warn('skipped: kill -9 in the capture and in the seal: strace is missing or may not trace');

describe('after kill -9 of a snapshot', () => {
  const imageOf = ({ incoming }: HeldJob) => join(incoming, 'ubd0.img');

  async function expectRunsUnrecovered(endedBy: string): Promise<void> {
    await waitFor('the guardian to end', () => scene.processes().length === 0);
    await expectRuns(scene.guest);
    await expectRecovered({ resumed: [] });
    expect(await pausesOfNewestJob()).toEqual([
      expect.objectContaining({ endedBy, pausedMs: expect.any(Number) }),
    ]);
  }

  test.skipIf(!traceable)(
    'in the middle of its capture the guest runs before recover does, and recover closes and clears the rest',
    async () => {
      const job = await startHeld(scene, ['--capture', 'copy']);
      await withInjected(job.captureChild, ['sendfile:delay_exit=60000000'], async () => {
        await job.letGo();
        await waitFor('bytes in the copy', () => statSync(imageOf(job)).blocks > 0);
        job.cli.kill('SIGKILL');
      });
      await job.cli.exited;
      await expectRunsUnrecovered('guardian');
    },
  );

  test.skipIf(!traceable)(
    'in its seal there is no snapshot of it, and recover throws the copy away',
    async () => {
      const job = await startHeld(scene);
      const untilKilled = async () => {
        await job.letGo();
        await job.cli.waitForOutput(/"phase":"seal"/);
        job.cli.kill('SIGKILL');
      };
      // Delayed for a minute, or until strace has let go of it.
      await withInjected(job.cli.pid, ['fsync:delay_enter=60000000'], untilKilled, imageOf(job));
      await job.cli.exited;
      await expectRunsUnrecovered('request');
    },
  );

  test('together with its guardian the guest stands still, and recover resumes it', async () => {
    await killInPause(scene);
    await expectRecovered({ resumed: ['debian'] });
    expect(await pausesOfNewestJob()).toMatchObject([{ endedBy: 'recover' }]);
  });

  test('the next snapshot recovers by itself, and succeeds', async () => {
    await killInPause(scene);
    const { job } = await scene.newestJob();
    expect(await scene.snapshot()).toMatchObject({ exitCode: 0, stderr: '' });
    expect((await scene.jobs()).find((found) => found.job === job)?.status).toBe('interrupted');
    await scene.expectWell();
  });
});

test('recover leaves the incoming copy, the lease and the paused guest of a job at work alone', async () => {
  const cli = await startHeldInPause(scene.proxy, () => scene.startSnapshot());
  const present = async () => ({ incomings: await scene.incomings(), leases: await scene.leases() });
  const before = await present();
  expect(before).toMatchObject({ incomings: [expect.any(String)], leases: [expect.any(String)] });
  const recovered = await scene.run('recover');
  expect(recovered).toMatchObject({ exitCode: 0, stdout: 'Nothing to recover.\n', stderr: '' });
  expect(await present()).toEqual(before);
  expect(await scene.newestJob()).toMatchObject({ status: 'running' });
  await resumeHeld(scene.proxy);
  expect(resultOf(await cli.exited).exitCode).toBe(0);
  expect(await pausesOfNewestJob()).toMatchObject([{ endedBy: 'request' }]);
  await scene.expectWell();
});
