import { copyFile, rename, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { captureChildrenOf } from '../capture/traced.js';
import { whyNoTracing } from '../capture/tracing/why-no-tracing.js';
import { startHeld } from '../snapshot/held-job.js';
import {
  expectFailed,
  expectNothingLost,
  expectRuns,
  incomingIn,
  type Records,
  recordsOf,
  resultOf,
  type Scene,
  setScene,
  ticker,
} from '../snapshot/scene.js';
import type { RunningCli } from '../support/cli.js';
import { whyNoLoopMount, withLoopFilesystem } from '../support/loop-filesystem.js';
import { type MconsoleProxy, startMconsoleProxy } from '../support/mconsole-proxy.js';
import { bootGuest, type RealGuest } from '../support/real-guest.js';
import { tryTool } from '../support/run-tool.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';
import { traceInstancesOf } from './trace-instances.js';

/** What goes wrong with a precopy of a real guest's disk, by the command line, while the guest runs and while it doesn't. */

const untraced = await whyNoTracing();

describe.each(['traced', 'compared'] as const)('a precopy that is %s', (tracker) => {
  describe.skipIf(tracker === 'traced' && untraced !== null)(
    `while it is copied${untraced === null ? '' : ` (traced is skipped: ${untraced})`}`,
    () => precopyFaults(tracker),
  );
});

function precopyFaults(tracker: 'traced' | 'compared'): void {
  let dir: string;
  let guest: RealGuest;
  let proxy: MconsoleProxy;
  let scene: Scene;
  let slow: Scene;
  let first: Scene;
  let before: Records;

  beforeAll(async () => {
    dir = await makeTempDir();
    guest = await bootGuest({ dir, writer: 'lines', sizeMiB: 64, fillMiB: 24, rc: ticker });
    proxy = await startMconsoleProxy({ listenPath: join(dir, 'proxy'), guestSocketPath: guest.socketPath });
    const settings = { capture: 'precopy', precopyTracker: tracker, pauseBudget: '20s', syncTries: 20 };
    const common = { dir, mconsole: proxy.socketPath, disks: guest.disks };
    scene = await setScene({ ...common, settings });
    // The bulk of the disk takes half a minute.
    slow = await setScene({ ...common, settings: { ...settings, precopyRate: '1MiB/s' } });
    // Captured in the first pause, however dirty the guest is then.
    first = await setScene({ ...common, settings: { ...settings, require: 'crash', syncTries: 1 } });
    expect((await scene.snapshot()).summary.error).toBeNull();
  });
  afterAll(async () => {
    await proxy?.close();
    await guest?.kill();
    await removeTempDir(dir);
  });
  beforeEach(async () => {
    before = await recordsOf(scene);
  });

  async function expectUnharmed({ pid }: RunningCli): Promise<void> {
    await expectRuns(guest);
    expect(traceInstancesOf(pid)).toEqual([]);
    expect((await expectNothingLost(scene, before)).sound).toEqual(before.sound);
  }

  const stops = async () => (await proxy.events()).filter(({ command }) => command === 'stop').length;

  /** A job in the middle of its bulk copy. */
  async function inBulk(): Promise<RunningCli> {
    const cli = slow.start(['snapshot', 'debian', '--json']);
    await cli.waitForOutput(/"doneBytes":[1-9]/);
    if (tracker === 'traced') expect(traceInstancesOf(cli.pid)).toHaveLength(1);
    return cli;
  }

  test.each(['SIGINT', 'SIGTERM'] as const)('%s during the bulk copy undoes it at once', async (signal) => {
    const cli = await inBulk();
    const stopsBefore = await stops();
    cli.kill(signal);
    const { exitCode, summary } = resultOf(await cli.exited);
    expect(summary).toMatchObject({
      status: 'interrupted',
      error: { code: 'Interrupted', phase: 'precopy' },
    });
    expect(exitCode).toBe(130);
    expect(await stops()).toBe(stopsBefore);
    await expectUnharmed(cli);
  });

  test('kill -9 during the bulk copy leaves no guest paused, no copier, and what the next start removes', async () => {
    const cli = await inBulk();
    const copiers = captureChildrenOf(cli.pid);
    expect(copiers).toHaveLength(1);
    cli.kill('SIGKILL');
    await cli.exited;
    await waitFor('the copier to end', () => captureChildrenOf(1).every((pid) => !copiers.includes(pid)));
    await expectRuns(guest);
    // Another job on this host may have removed it before us.
    const isLeft = traceInstancesOf(cli.pid).length > 0;
    const { stdout, exitCode } = await scene.run('recover');
    expect(stdout).toMatch(/threw away the incoming copy/);
    if (isLeft) expect(stdout).toMatch(/ended the tracing umlsnap-/);
    expect(exitCode).toBe(0);
    // The job was closed as cut short, which changes its row.
    before = { ...before, jobs: new Map([...before.jobs].filter(([, row]) => !/"running"/.test(row))) };
    await expectUnharmed(cli);
  });

  test('the copier killed during the bulk copy fails the job, the guest untouched (fault 26)', async () => {
    const cli = await inBulk();
    for (const pid of captureChildrenOf(cli.pid)) process.kill(pid, 'SIGKILL');
    const summary = expectFailed(resultOf(await cli.exited), 'CaptureFailed');
    expect(summary).toMatchObject({ resumed: true, error: { phase: 'precopy' } });
    expect(summary.error?.message).toMatch(/ended unexpectedly \(SIGKILL\)/);
    await expectUnharmed(cli);
  });

  test('the copier stopped in the pause is cut at the budget (fault 26)', async () => {
    const job = await startHeld(first, proxy, '--budget', '1s');
    const pausesBefore = (await proxy.pauses()).length;
    await proxy.hold('stop');
    await job.letGo();
    await proxy.untilHeld('stop');
    process.kill(job.captureChild, 'SIGSTOP');
    await proxy.release('stop');
    const summary = expectFailed(resultOf(await job.cli.exited), 'PauseBudgetExceeded');
    expect(summary).toMatchObject({ resumed: true, error: { phase: 'capture' } });
    const [pausedMs, ...more] = (await proxy.pauses()).slice(pausesBefore);
    expect(more).toEqual([]);
    expect(pausedMs).toBeLessThan(1000 + 250);
    await expectUnharmed(job.cli);
  });

  const unmountable = whyNoLoopMount('ext4');
  test.skipIf(unmountable !== undefined)(
    `a store that runs full during the bulk copy fails the job (fault 29)${unmountable ? ` (skipped: ${unmountable})` : ''}`,
    () =>
      withLoopFilesystem({ type: 'ext4', sizeMiB: 96 }, async (mountPoint) => {
        const settings = { capture: 'precopy', precopyTracker: tracker, precopyRate: '1MiB/s' };
        const full = await setScene({
          ...{ dir: join(dir, 'full'), mconsole: proxy.socketPath, disks: guest.disks, settings },
          stores: { small: mountPoint },
        });
        const stopsBefore = await stops();
        const cli = full.start(['snapshot', 'debian', '--json']);
        await cli.waitForOutput(/"doneBytes":[1-9]/);
        await tryTool('dd', ['if=/dev/zero', `of=${join(mountPoint, 'ballast')}`, 'bs=64k']);
        const summary = expectFailed(resultOf(await cli.exited), 'CaptureFailed');
        expect(summary.error?.message).toContain('the store has no room left (ENOSPC)');
        expect(summary).toMatchObject({ resumed: true, error: { phase: 'precopy' } });
        expect(await stops()).toBe(stopsBefore);
        expect(await incomingIn(full.store)).toEqual([]);
        await expectUnharmed(cli);
      }),
  );

  describe('a disk that changes under the copy makes it void (fault 25)', () => {
    test.each([
      ['grows', 4096],
      ['shrinks', -4096],
    ])('as it %s', async (_, byBytes) => {
      const { size } = await stat(guest.diskPath);
      const job = await startHeld(scene, proxy);
      await truncate(guest.diskPath, size + byBytes);
      try {
        const summary = expectFailed(await job.end(), 'SourceChanged');
        expect(summary.error?.message).toContain(`its size went from ${size} to ${size + byBytes} bytes`);
      } finally {
        await truncate(guest.diskPath, size);
      }
      await expectUnharmed(job.cli);
    });

    // Last: from here on the guest's disk has no name any more.
    test('as another file takes its place during the bulk copy', async () => {
      const other = join(dir, 'other.img');
      await copyFile(guest.diskPath, other);
      const cli = await inBulk();
      await rename(other, guest.diskPath);
      const summary = expectFailed(resultOf(await cli.exited), 'SourceChanged');
      expect(summary.error?.message).toContain('deleted or replaced');
      await expectUnharmed(cli);
    });
  });
}
