import { statSync } from 'node:fs';
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import {
  killInPause,
  letCapture,
  letGoIntoCapture,
  resumeHeld,
  startHeld,
  startHeldInPause,
} from '../support/held-job.js';
import { type LoopFilesystem, mountLoopFilesystem, whyNoLoopMount } from '../support/loop-filesystem.js';
import { runTool } from '../support/run-tool.js';
import { capturesAtOnce, expectFailed, expectRuns, resultOf, setScene } from '../support/scene.js';
import { waitFor } from '../support/wait-for.js';
import { whileFlocked } from '../support/while-flocked.js';

/** What a killed job leaves behind, and what `recover` makes of it; what it can't put right it says, and does it the next time. */

const scene = setScene({ on: 'xfs', proxied: true, guest: { fillMiB: 24 } });
beforeAll(async () => {
  expect(await scene.snapshot()).toMatchObject({ exitCode: 0, stderr: '' });
  await scene.expectWell();
});
afterEach(async () => {
  process.kill(scene.guest.pid, 'SIGCONT');
  for (const command of ['stop', 'go']) await scene.proxy.release(command);
  await scene.expectWell();
});

const recover = () => scene.run('recover', '--json');
const pausesOf = (job: string) =>
  scene.withHistory(async (history) => (await history.job(job))?.pauses ?? []);

/** The newest job, which was killed, is closed by one recover, whose second run finds nothing. @returns the job's one pause */
async function recovered(told: Record<string, unknown>) {
  const { job } = await scene.newestJob();
  expect(await scene.incomings()).toHaveLength(1);
  const closed = { closedJobs: [job], discarded: [`debian/${job}`], mayBePaused: [], problems: [] };
  expect(await recover()).toMatchObject({ exitCode: 0, stderr: '', json: [{ ...closed, ...told }] });
  const interrupted = { job, status: 'interrupted', error: { code: 'Interrupted' } };
  expect(await scene.newestJob()).toMatchObject(interrupted);
  await scene.expectNothingToRecover();
  await scene.expectUnharmed();
  const [pause, ...others] = await pausesOf(job);
  expect(others).toEqual([]);
  return pause;
}

test('after kill -9 of a snapshot in the middle of its capture the guest runs before recover does, and recover closes and clears the rest', async () => {
  const job = await startHeld(scene, ['--capture', 'copy'], await scene.variant(capturesAtOnce));
  await letGoIntoCapture(job, scene.proxy);
  expect(statSync(join(job.incoming, 'ubd0.img')).blocks).toBeGreaterThan(0);
  job.cli.kill('SIGKILL');
  await job.cli.exited;
  await letCapture(scene.proxy);
  await waitFor('the guardian to end', () => scene.processes().length === 0);
  await expectRuns(scene.guest);
  const pause = { endedBy: 'guardian', pausedMs: expect.any(Number) };
  expect(await recovered({ resumed: [] })).toMatchObject(pause);
});

test('after kill -9 of a snapshot together with its guardian the guest stands still, and recover resumes it (fault 47)', async () => {
  await killInPause(scene);
  expect(await recovered({ resumed: ['debian'] })).toMatchObject({ endedBy: 'recover' });
});

test.runIf(process.getuid?.() === 0)(
  'who may only read a disk, and locks it, keeps its guest neither from being resumed nor from being backed up',
  () =>
    whileFlocked(scene.guest.disks[0]?.path ?? '', { uid: 65534 }, async () => {
      await killInPause(scene);
      expect(await recovered({ resumed: ['debian'] })).toMatchObject({ endedBy: 'recover' });
      expect(await scene.snapshot()).toMatchObject({ exitCode: 0, stderr: '' });
    }),
);

test('recover leaves the incoming copy, the lease and the paused guest of a job at work alone', async () => {
  const cli = await startHeldInPause(scene.proxy, () => scene.startSnapshot());
  const present = async () => ({ incomings: await scene.incomings(), leases: await scene.leases() });
  const before = await present();
  expect(before).toMatchObject({ incomings: [expect.any(String)], leases: [expect.any(String)] });
  await scene.expectNothingToRecover();
  expect(await present()).toEqual(before);
  const { job, status } = await scene.newestJob();
  expect(status).toBe('running');
  await resumeHeld(scene.proxy);
  expect(resultOf(await cli.exited).exitCode).toBe(0);
  expect(await pausesOf(job)).toMatchObject([{ endedBy: 'request' }]);
});

describe('a guest that can’t be resumed', () => {
  const toldLoudly = expect.stringMatching(/GUEST debian MAY STILL BE PAUSED/);

  test('is told by exit 20, its lease stays, and the next recover resumes it when it answers again', async () => {
    await scene.proxy.hold('stop');
    const cli = scene.startSnapshot();
    await scene.proxy.untilHeld('stop');
    process.kill(scene.guest.pid, 'SIGSTOP');
    scene.killCommands();
    await cli.exited;
    // Outstanding: it lies in the guest's queue, and takes effect when the guest is continued.
    await scene.proxy.release('stop');

    const mayBePaused = [{ guest: 'debian', problem: expect.any(String) }];
    expect(await recover()).toMatchObject({ exitCode: 20, stderr: toldLoudly, json: [{ mayBePaused }] });
    expect(await scene.leases()).toHaveLength(1);
    const { job } = await scene.newestJob();

    process.kill(scene.guest.pid, 'SIGCONT');
    expect(await recover()).toMatchObject({ exitCode: 0, stderr: '' });
    // Which `go` it was that resumed the guest, the first recover's or the second's, is up to the guest's queue.
    const endedBy = expect.stringMatching(/^(recover|guardian)$/);
    expect(await pausesOf(job)).toMatchObject([{ endedBy }]);
    await scene.expectNothingToRecover();
  });

  test('keeps its next snapshot from being taken: exit 20, and the job stands in the history; the one after it recovers by itself', async () => {
    await killInPause(scene);
    await scene.proxy.hold('go');
    const refused = await scene.run('snapshot', 'debian', '--json');
    expect(refused).toMatchObject({ exitCode: 20, stderr: toldLoudly });
    expect(await scene.newestJob()).toMatchObject({ status: 'failed', error: { code: 'GuestMayBePaused' } });
    await scene.proxy.release('go');
    expect(await scene.snapshot()).toMatchObject({ exitCode: 0, stderr: '' });
    expect((await scene.jobs()).map(({ status }) => status).slice(0, 3)).toEqual([
      ...['success', 'failed', 'interrupted'],
    ]);
  });
});

const whyNoMount = whyNoLoopMount('ext4');
const unmountable = whyNoMount === undefined ? '' : ` (skipped: ${whyNoMount})`;

describe.skipIf(unmountable)(`a store that is away${unmountable}`, () => {
  let disk: LoopFilesystem;
  beforeAll(async () => {
    disk = await mountLoopFilesystem({ type: 'ext4', sizeMiB: 256 });
    // The history remembers by name what a store held.
    scene.forgetHistory();
    scene.forgetSnapshots();
    scene.state = scene.path('further-state');
    scene.store = join(disk.mountPoint, 'store');
    await scene.configure();
    // To another filesystem no reflink leads, of which it warns.
    expect((await scene.snapshot()).summary.error).toBeNull();
    expect(await recover()).toMatchObject({ exitCode: 0 });
  });
  afterAll(() => disk?.remove());

  async function whileAway(use: () => Promise<void>): Promise<void> {
    const { mountPoint, image } = disk;
    await runTool('umount', [mountPoint]);
    await use().finally(() => runTool('mount', ['-o', 'loop', image, mountPoint]));
  }
  const rows = () => scene.withHistory((history) => history.snapshots({}));

  /** Of those that were there. */
  async function expectListedAsAway(): Promise<void> {
    const away = (await rows()).map(({ snapshot }) =>
      expect.objectContaining({ snapshot, state: 'unreachable' }),
    );
    expect(away).not.toEqual([]);
    const json = expect.arrayContaining(away);
    expect(await scene.run('list', '--json')).toMatchObject({ exitCode: 3, json });
  }

  test('is told by exit 3, loses no row, and is asked again when it is back; so it is for a history that was deleted and rebuilt', async () => {
    const before = await rows();
    await whileAway(async () => {
      expect(await recover()).toMatchObject({
        exitCode: 3,
        stderr: expect.stringMatching(/Store local is not there/),
        json: [{ forgotten: [], indexed: [] }],
      });
      expect(await rows()).toEqual(before);
      await expectListedAsAway();
      expectFailed(await scene.snapshot(), 'StoreNotMounted');
    });
    await scene.expectNothingToRecover();
    scene.forgetHistory();
    await rename(scene.state, `${scene.state}.gone`);
    expect(await recover()).toMatchObject({ exitCode: 0, stderr: '' });
    await whileAway(expectListedAsAway);
  });
});
