import { copyFile, mkdir, mkdtemp, rename, symlink, writeFile } from 'node:fs/promises';
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

async function withSysrq<T>(setting: number, use: () => Promise<T>): Promise<T> {
  await scene.guest.sh(`echo ${setting} > /proc/sys/kernel/sysrq`);
  return await use().finally(() => scene.guest.sh('echo 1 > /proc/sys/kernel/sysrq'));
}

describe('a guest that must not be stopped is refused', () => {
  test('with a SysRq mask by which `sysrq s` answers OK and does nothing, but not with one that has the bit of sync', async () => {
    await withSysrq(8, async () => {
      expect(await expectRefused('SysrqDisabled')).toContain('kernel.sysrq = 8');
    });
    await withSysrq(0, async () => {
      const refused = await scene.snapshot();
      await expectUntouched(expectFailed(refused, 'SysrqDisabled'), 'SysrqDisabled');
    });
    const { exitCode, summary } = await withSysrq(16, () => scene.snapshot('--capture', 'copy'));
    expect(summary).toMatchObject({ error: null, consistency: 'synced' });
    expect(exitCode).toBe(3);
  });

  test('stopped already, and left so: somebody did that on purpose', async () => {
    await scene.guest.mconsole('stop');
    const summary = await scene.backup();
    // Fails unless it is still stopped.
    await scene.guest.mconsole('go');
    await expectUntouched(summary, 'GuestAlreadyStopped', false);
  });
});

describe('a guest that can not be asked is refused, and its job says why', () => {
  test.each([
    ['without a socket', 'NoMconsoleSocket', async () => {}],
    ['with a plain file in its place', 'NotASocket', (path: string) => writeFile(path, '')],
    ['with a socket that nobody listens at any more', 'GuestSocketDead', bindAndClose],
  ])('%s', async (_, code, prepare) => {
    const mconsole = scene.path(code);
    await prepare(mconsole);
    expect(await expectRefused(code, { mconsole })).toContain(mconsole);
  });

  test('with a socket that echoes, which is no management console', async () => {
    const mconsole = scene.path('echo');
    const socket = createSocket('unix_dgram');
    socket.on('message', (datagram, { path }) => {
      socket.send(datagram, 0, datagram.length, path ?? '', () => {});
    });
    socket.bind(mconsole);
    await expectRefused('ReplyMalformed', { mconsole }).finally(() => socket.close());
  });

  test('with a process that is stopped by a signal', async () => {
    process.kill(scene.guest.pid, 'SIGSTOP');
    const summary = await scene.backup().finally(() => process.kill(scene.guest.pid, 'SIGCONT'));
    await expectUntouched(summary, 'GuestNotAnswering');
  });
});

async function bindAndClose(path: string): Promise<void> {
  const socket = createSocket('unix_dgram');
  socket.bind(path);
  socket.close();
}

describe('a disk that is not what the guest has is refused', () => {
  test.each([
    [
      'another file of the same content',
      'GuestProcessNotFound',
      '',
      (disk: string, path: string) => copyFile(disk, path),
    ],
    ['a symbolic link, wherever it leads', 'DiskUnusable', 'symbolic link', symlink],
  ])('%s', async (title, code, problem, make) => {
    const path = scene.path(title.replaceAll(/\W/g, '-'));
    await make(scene.guest.diskPath, path);
    expect(await expectRefused(code, { disks: { ubd0: path } })).toContain(problem);
  });

  test('a device that the guest does not have', async () => {
    const disks = { ubd3: scene.guest.diskPath };
    expect(await expectRefused('DiskMismatch', { disks })).toContain('the guest has no such disk');
  });

  test('a raw disk that the config calls COW', async () => {
    const backing = scene.path('base.img');
    await writeFile(backing, '');
    const disks = { ubd0: { path: scene.guest.diskPath, backing } };
    expect(await expectRefused('DiskUnusable', { disks })).toContain('no COW header');
  });

  test('a file that took the place of the one that the guest has open', async () => {
    const { diskPath } = scene.guest;
    const aside = `${diskPath}.aside`;
    await rename(diskPath, aside);
    try {
      await copyFile(aside, diskPath);
      await expectRefused('GuestProcessNotFound');
    } finally {
      await rename(aside, diskPath);
    }
  });
});

describe('a capture that can not succeed is refused', () => {
  test('a reflink from one filesystem to another', async () => {
    const far = await mkdtemp('/dev/shm/us-');
    try {
      const stores = Object.entries({ local: scene.store, far });
      const config = {
        stores: Object.fromEntries(stores.map(([name, path]) => [name, { type: 'directory', path }])),
      };
      const options = { capture: 'reflink', store: 'far' } as const;
      const message = await expectRefused('CaptureImpossible', {}, options, config);
      expect(message).toContain('different file systems');
    } finally {
      await removeTempDir(far);
    }
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

test('a store that is not there is refused: an empty directory in its place gets nothing written under it (fault 33)', async () => {
  const aside = `${scene.store}.aside`;
  await rename(scene.store, aside);
  await mkdir(scene.store);
  try {
    expect(await expectRefused('StoreNotMounted')).toContain('its marker file is not there');
  } finally {
    // Fails, as it should, if anything was written into it.
    await rename(aside, scene.store);
  }
});

test('of all these, each has its row in the history, and none has left or lost anything', async () => {
  const failed = (await scene.jobs()).filter(({ status }) => status === 'failed');
  expect(failed.reverse().map(({ error }) => error?.code)).toEqual(refusedSoFar);
  expect(await scene.snapshots()).toHaveLength(1);
  await scene.expectWell();
});
