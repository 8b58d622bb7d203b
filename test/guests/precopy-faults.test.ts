import { copyFile, rename, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { captureChildrenOf, traceInstancesOf } from '../capture/traced.js';
import { whyNoTracing } from '../capture/tracing/why-no-tracing.js';
import type { RunningCli } from '../support/cli.js';
import { resumeHeld, startHeld, startHeldInPause } from '../support/held-job.js';
import { whyNoLoopMount, withLoopFilesystem } from '../support/loop-filesystem.js';
import { runTool, tryTool } from '../support/run-tool.js';
import { expectFailed, resultOf, setScene } from '../support/scene.js';
import { waitFor } from '../support/wait-for.js';

/**
 * What goes wrong with a precopy of a real guest's disk, by the command line, while the guest runs and while it doesn't. What a
 * tracker has to do with it, test/capture/precopy asks of both.
 */

const untraced = await whyNoTracing();
const traced = untraced === null ? 'traced' : 'compared';
const skipped = untraced === null ? '' : ` (none is traced: ${untraced})`;

describe(`a precopy${skipped}`, () => {
  // Captured in the first pause, however dirty the guest is then.
  const settings = { capture: 'precopy', require: 'crash', syncTries: 1 };
  const scene = setScene({ guest: { writer: 'lines', sizeMiB: 48, fillMiB: 12 }, proxied: true, settings });

  beforeAll(async () => {
    expect((await scene.snapshot()).summary.error).toBeNull();
    await scene.expectWell();
  });

  const by = (precopyTracker: string) => scene.variant({ precopyTracker });
  const stops = async () => (await scene.proxy.events()).filter(({ command }) => command === 'stop').length;

  async function expectUnharmed({ pid }: RunningCli): Promise<void> {
    expect(traceInstancesOf(pid)).toEqual([]);
    await scene.expectUnharmed();
  }

  /** A job in the middle of its bulk copy, which takes half a minute. */
  async function inBulk(tracker: string, more = {}, precopyRate = '512KiB/s'): Promise<RunningCli> {
    const cli = (await scene.variant({ precopyRate, precopyTracker: tracker }, more)).startSnapshot();
    await cli.waitForOutput(/"doneBytes":[1-9]/);
    if (tracker === 'traced') expect(traceInstancesOf(cli.pid)).toHaveLength(1);
    return cli;
  }

  test.each([
    ['SIGINT', traced],
    ['SIGTERM', 'compared'],
  ] as const)('%s during the bulk copy undoes it at once', async (signal, tracker) => {
    const stopsBefore = await stops();
    const cli = await inBulk(tracker);
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
    const cli = await inBulk(traced);
    expect(captureChildrenOf(cli.pid)).toHaveLength(1);
    cli.kill('SIGKILL');
    await cli.exited;
    await waitFor('the copier to end', () => scene.processes().length === 0);
    expect(await scene.incomings()).toHaveLength(1);
    const { stdout, exitCode } = await scene.run('recover');
    expect(stdout).toMatch(/threw away the incoming copy/);
    expect(exitCode).toBe(0);
    // By our start, or by that of any other umlsnap on this host.
    await expectUnharmed(cli);
  });

  test('the copier killed during the bulk copy fails the job, the guest untouched (fault 26)', async () => {
    const cli = await inBulk(traced);
    for (const pid of captureChildrenOf(cli.pid)) process.kill(pid, 'SIGKILL');
    const summary = expectFailed(resultOf(await cli.exited), 'CaptureFailed');
    expect(summary).toMatchObject({ resumed: true, error: { phase: 'precopy' } });
    expect(summary.error?.message).toMatch(/ended unexpectedly \(SIGKILL\)/);
    await expectUnharmed(cli);
  });

  test('the copier stopped in the pause is cut at the budget (fault 26)', async () => {
    const { proxy } = scene;
    const commands = await by(traced);
    const pausesBefore = (await proxy.pauses()).length;
    const cli = await startHeldInPause(proxy, () => commands.startSnapshot('--budget', '3s'));
    for (const pid of captureChildrenOf(cli.pid)) process.kill(pid, 'SIGSTOP');
    await resumeHeld(proxy);
    const summary = expectFailed(resultOf(await cli.exited), 'PauseBudgetExceeded');
    expect(summary).toMatchObject({ resumed: true, error: { phase: 'capture' } });
    const [pausedMs, ...more] = (await proxy.pauses()).slice(pausesBefore);
    expect(more).toEqual([]);
    // By this budget, and not by the minute that the config gives.
    expect(pausedMs).toBeLessThan(30_000);
    await expectUnharmed(cli);
  });

  const unmountable = whyNoLoopMount('ext4');
  test.skipIf(unmountable !== undefined)(
    `a store that runs full during the bulk copy fails the job (fault 29)${unmountable ? ` (skipped: ${unmountable})` : ''}`,
    () =>
      withLoopFilesystem({ type: 'ext4', sizeMiB: 48 }, async (path) => {
        const stores = { small: { type: 'directory', path } };
        const defaults = { store: 'small', pauseBudget: '60s' };

        const stopsBefore = await stops();
        const cli = await inBulk('compared', { stores, defaults });
        await tryTool('dd', ['if=/dev/zero', `of=${join(path, 'ballast')}`, 'bs=64k']);
        const summary = expectFailed(resultOf(await cli.exited), 'CaptureFailed');
        expect(summary.error?.message).toContain('the store has no room left (ENOSPC)');
        expect(summary).toMatchObject({ resumed: true, error: { phase: 'precopy' } });
        expect(await stops()).toBe(stopsBefore);
        expect((await runTool('find', [path, '-name', '.incoming-*'])).toString()).toBe('');
        await expectUnharmed(cli);
      }),
  );

  describe('is void when its disk changes under it (fault 25)', () => {
    test.each([
      ['grows', 4096, traced],
      ['shrinks', -4096, 'compared'],
    ] as const)('as it %s', async (_, byBytes, tracker) => {
      const { diskPath } = scene.guest;
      const { size } = await stat(diskPath);
      const job = await startHeld(scene, [], await by(tracker));
      await truncate(diskPath, size + byBytes);
      try {
        const summary = expectFailed(await job.end(), 'SourceChanged');
        expect(summary.error?.message).toContain(`its size went from ${size} to ${size + byBytes} bytes`);
      } finally {
        await truncate(diskPath, size);
      }
      await expectUnharmed(job.cli);
    });

    // Last: from here on the guest's disk has no name any more.
    test('as another file takes its place during the bulk copy', async () => {
      const { diskPath } = scene.guest;
      const other = scene.path('other.img');
      await copyFile(diskPath, other);
      // It shows when all is copied.
      const cli = await inBulk(traced, {}, '4MiB/s');
      await rename(other, diskPath);
      const summary = expectFailed(resultOf(await cli.exited), 'SourceChanged');
      expect(summary.error?.message).toContain('deleted or replaced');
      await expectUnharmed(cli);
    });
  });
});
