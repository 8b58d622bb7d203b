import { copyFile, mkdtemp, writeFile } from 'node:fs/promises';
import { createSocket } from 'unix-dgram';
import { beforeEach, describe, expect, test } from 'vitest';
import { expectFailed, expectRuns, setScene, type Summary } from '../support/scene.js';
import { removeTempDir } from '../support/temp-dir.js';

/** What preflight refuses of a real guest, each by its own name, and none with a `stop` sent. */

const scene = setScene({ guest: { fillMiB: 16 }, proxied: true });
const refusedSoFar: string[] = [];
let stopsBefore: number;
beforeEach(async () => {
  stopsBefore = await stops();
});

const stops = async () => (await scene.proxy.events()).filter(({ command }) => command === 'stop').length;

/** @returns the message */
async function expectRefused(code: string, ...given: Parameters<typeof scene.backup>): Promise<string> {
  const summary = await scene.backup(...given);
  await expectUntouched(summary, code);
  return summary.error?.message ?? '';
}

async function expectUntouched(summary: Summary, code: string, resumed = true): Promise<void> {
  refusedSoFar.push(code);
  const nothing = { status: 'failed', snapshot: null, pausedMs: null, resumed };
  expect(summary).toMatchObject({ ...nothing, error: { phase: 'preflight', code } });
  expect(await stops()).toBe(stopsBefore);
  await expectRuns(scene.guest);
  expect(await scene.incomings()).toEqual([]);
}

describe('a guest that must not be stopped is refused', () => {
  async function withSysrq<T>(setting: number, use: () => Promise<T>): Promise<T> {
    await scene.guest.sh(`echo ${setting} > /proc/sys/kernel/sysrq`);
    return await use().finally(() => scene.guest.sh('echo 1 > /proc/sys/kernel/sysrq'));
  }

  test('with a SysRq mask by which `sysrq s` answers OK and does nothing, but not with one that has the bit of sync', async () => {
    expect(await withSysrq(8, () => expectRefused('SysrqDisabled'))).toContain('kernel.sysrq = 8');
    const refused = await withSysrq(0, () => scene.snapshot());
    await expectUntouched(expectFailed(refused, 'SysrqDisabled'), 'SysrqDisabled');
    const { exitCode, summary } = await withSysrq(16, () => scene.snapshot('--capture', 'copy'));
    expect(summary).toMatchObject({ error: null, consistency: 'synced' });
    expect(exitCode).toBe(3);
  });

  test('stopped already, and left so: somebody did that on purpose (fault 7)', async () => {
    await scene.guest.mconsole('stop');
    const summary = await scene.backup();
    // Fails unless it is still stopped.
    await scene.guest.mconsole('go');
    await expectUntouched(summary, 'GuestAlreadyStopped', false);
  });
});

describe('a guest that can not be asked is refused, and its job says why', () => {
  test('with a socket that nobody listens at any more, or that only echoes', async () => {
    const mconsole = scene.path('echo');
    const socket = createSocket('unix_dgram');
    socket.on('message', (datagram, { path }) => {
      socket.send(datagram, 0, datagram.length, path ?? '', () => {});
    });
    socket.bind(mconsole);
    await expectRefused('ReplyMalformed', { mconsole }).finally(() => socket.close());
    expect(await expectRefused('GuestSocketDead', { mconsole })).toContain(mconsole);
  });

  test('with a process that is stopped by a signal', async () => {
    process.kill(scene.guest.pid, 'SIGSTOP');
    const summary = await scene.backup().finally(() => process.kill(scene.guest.pid, 'SIGCONT'));
    await expectUntouched(summary, 'GuestNotAnswering');
  });
});

test('a disk that is another file, of the same content, or raw where the config calls it COW, is refused', async () => {
  const { diskPath } = scene.guest;
  const copy = scene.path('copy.img');
  await copyFile(diskPath, copy);
  await expectRefused('GuestProcessNotFound', { disks: { ubd0: copy } });
  const backing = scene.path('base.img');
  await writeFile(backing, '');
  const message = await expectRefused('DiskUnusable', { disks: { ubd0: { path: diskPath, backing } } });
  expect(message).toContain('no COW header');
});

describe('a capture that can not succeed is refused', () => {
  test('a reflink from one filesystem to another', async () => {
    const far = await mkdtemp('/dev/shm/us-');
    const stores = { local: { type: 'directory', path: scene.store }, far: { type: 'directory', path: far } };
    const options = { capture: 'reflink', store: 'far' } as const;
    const refusing = expectRefused('CaptureImpossible', {}, options, { stores });
    const message = await refusing.finally(() => removeTempDir(far));
    expect(message).toContain('different file systems');
  });

  test('a copy whose pause would exceed the budget, with the advice that helps, and as well by a dry run', async () => {
    const options = { capture: 'copy', budgetMs: 1 } as const;
    expect(await expectRefused('PredictedPauseOverBudget', {}, options)).toMatch(
      /its budget is 1 ms.*set pauseBudget to at least \d+s/,
    );
    await expectRefused('PredictedPauseOverBudget', {}, { ...options, dryRun: true });
  });

  test('but a dry run stops nobody when all is in order, and tells what would be done', async () => {
    const { exitCode, summary } = await scene.snapshot('--dry-run', '--capture', 'copy');
    expect(exitCode).toBe(3);
    expect(summary).toMatchObject({ kind: 'dry-run', status: 'warning', snapshot: null, method: 'copy' });
    expect(summary.predictedPauseMs).toBeGreaterThan(0);
    expect(await stops()).toBe(stopsBefore);
  });
});

test('of all these, each has its row in the history, and none has left or lost anything', async () => {
  const failed = (await scene.jobs()).filter(({ status }) => status === 'failed');
  expect(failed.reverse().map(({ error }) => error?.code)).toEqual(refusedSoFar);
  expect(await scene.snapshots()).toHaveLength(1);
  await scene.expectWell();
});
