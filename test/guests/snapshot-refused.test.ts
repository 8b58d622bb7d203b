import { copyFile, mkdir, mkdtemp, rename, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createSocket } from 'unix-dgram';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import {
  expectFailed,
  expectNothingLost,
  expectRuns,
  incomingIn,
  type Records,
  recordsOf,
  type Scene,
  setScene,
  ticker,
} from '../snapshot/scene.js';
import { type MconsoleProxy, startMconsoleProxy } from '../support/mconsole-proxy.js';
import { bootGuest, type RealGuest } from '../support/real-guest.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';

/** What preflight refuses of a real guest, each by its own name, and none with a `stop` sent. */

let dir: string;
let guest: RealGuest;
let proxy: MconsoleProxy;
let before: Records;
let main: Scene;

beforeAll(async () => {
  dir = await makeTempDir();
  guest = await bootGuest({ dir, writer: 'none', rc: ticker });
  proxy = await startMconsoleProxy({ listenPath: join(dir, 'proxy'), guestSocketPath: guest.socketPath });
  main = await sceneWith({});
  expect((await main.snapshot('--capture', 'copy')).exitCode).toBe(3);
  before = await recordsOf(main);
});
afterAll(async () => {
  await proxy?.close();
  await guest?.kill();
  await removeTempDir(dir);
});
let stopsBefore: number;
beforeEach(async () => {
  stopsBefore = await stops();
});

const stops = async () => (await proxy.events()).filter(({ command }) => command === 'stop').length;

/** All of them share a state and a store, and differ in what the config says of the guest. */
function sceneWith(changed: {
  mconsole?: string;
  path?: string;
  backing?: string;
  device?: string;
  stores?: Record<string, string>;
}): Promise<Scene> {
  const { mconsole = proxy.socketPath, path = guest.diskPath, backing, device = 'ubd0', stores } = changed;
  return setScene({
    ...{ dir, mconsole },
    ...(stores && { stores }),
    disks: [{ device, path, ...(backing !== undefined && { backing }) }],
    settings: { pauseBudget: '20s' },
  });
}

async function expectRefused(scene: Scene, code: string, options: string[] = []): Promise<string> {
  const summary = expectFailed(await scene.snapshot(...options), code);
  expect(summary).toMatchObject({ status: 'failed', error: { phase: 'preflight' }, pausedMs: null });
  expect(await stops()).toBe(stopsBefore);
  await expectRuns(guest);
  expect(await incomingIn(scene.store)).toEqual([]);
  return summary.error?.message ?? '';
}

describe('a guest that can not be asked is refused, and its job says why', () => {
  test('without a socket', async () => {
    await expectRefused(await sceneWith({ mconsole: join(dir, 'nowhere') }), 'NoMconsoleSocket');
  });

  test('with a plain file in its place', async () => {
    await writeFile(join(dir, 'plain'), '');
    const message = await expectRefused(await sceneWith({ mconsole: join(dir, 'plain') }), 'NotASocket');
    expect(message).toContain('not a management console');
  });

  test('with a socket that nobody listens at any more', async () => {
    const path = join(dir, 'dead');
    const socket = createSocket('unix_dgram');
    socket.bind(path);
    socket.close();
    await expectRefused(await sceneWith({ mconsole: path }), 'GuestSocketDead');
  });

  test('with a socket that echoes, which is no management console', async () => {
    const path = join(dir, 'echo');
    const socket = createSocket('unix_dgram');
    socket.on('message', (datagram, sender) => {
      socket.send(datagram, 0, datagram.length, sender.path ?? '', () => {});
    });
    socket.bind(path);
    try {
      await expectRefused(await sceneWith({ mconsole: path }), 'ReplyMalformed');
    } finally {
      socket.close();
    }
  });

  test('with a process that is stopped by a signal', async () => {
    process.kill(guest.pid, 'SIGSTOP');
    const failing = main.snapshot();
    expectFailed(await failing.finally(() => process.kill(guest.pid, 'SIGCONT')), 'GuestNotAnswering');
    await expectRuns(guest);
  });
});

describe('a guest that must not be stopped is refused', () => {
  test('stopped already, and left so: somebody did that on purpose', async () => {
    await guest.mconsole('stop');
    const refused = await main.snapshot();
    // Fails unless it is still stopped.
    await guest.mconsole('go');
    expect(expectFailed(refused, 'GuestAlreadyStopped').resumed).toBe(false);
    await expectRuns(guest);
  });

  test.each(['0', '8'])(
    'with its SysRq set to %s, by which `sysrq s` answers OK and does nothing',
    async (setting) => {
      await guest.sh(`echo ${setting} > /proc/sys/kernel/sysrq`);
      try {
        expect(await expectRefused(main, 'SysrqDisabled')).toContain(`kernel.sysrq = ${setting}`);
      } finally {
        await guest.sh('echo 1 > /proc/sys/kernel/sysrq');
      }
    },
  );

  test('but not with a SysRq mask that has the bit of sync', async () => {
    await guest.sh('echo 16 > /proc/sys/kernel/sysrq');
    try {
      const { summary } = await main.snapshot('--capture', 'copy');
      expect(summary).toMatchObject({ error: null, consistency: 'synced' });
    } finally {
      await guest.sh('echo 1 > /proc/sys/kernel/sysrq');
    }
  });
});

describe('a disk that is not what the guest has is refused', () => {
  test('another file of the same content', async () => {
    const path = join(dir, 'other.img');
    await copyFile(guest.diskPath, path);
    await expectRefused(await sceneWith({ path }), 'GuestProcessNotFound');
  });

  test('a device that the guest does not have', async () => {
    const message = await expectRefused(await sceneWith({ device: 'ubd3' }), 'DiskMismatch');
    expect(message).toContain('the guest has no such disk');
  });

  test('a raw disk that the config calls COW', async () => {
    const backing = join(dir, 'base.img');
    await writeFile(backing, '');
    const message = await expectRefused(await sceneWith({ backing }), 'DiskUnusable');
    expect(message).toContain('no COW header');
  });

  test('a symbolic link, wherever it leads', async () => {
    const path = join(dir, 'link.img');
    await symlink(guest.diskPath, path);
    const message = await expectRefused(await sceneWith({ path }), 'DiskUnusable');
    expect(message).toContain('symbolic link');
  });

  test('a file that took the place of the one that the guest has open', async () => {
    const aside = `${guest.diskPath}.aside`;
    await rename(guest.diskPath, aside);
    try {
      await copyFile(aside, guest.diskPath);
      await expectRefused(main, 'GuestProcessNotFound');
    } finally {
      await rename(aside, guest.diskPath);
    }
  });
});

describe('a capture that can not succeed is refused', () => {
  test('a reflink from one filesystem to another', async () => {
    const far = await mkdtemp('/dev/shm/us-');
    try {
      const scene = await sceneWith({ stores: { local: main.store, far } });
      const options = ['--capture', 'reflink', '--store', 'far'];
      expect(await expectRefused(scene, 'CaptureImpossible', options)).toContain('different file systems');
    } finally {
      await removeTempDir(far);
    }
  });

  test('a copy whose pause would exceed the budget, with the advice that helps', async () => {
    await guest.sh('dd if=/dev/urandom of=/data/bulk bs=1M count=40; sync');
    const options = ['--capture', 'copy', '--budget', '1ms'];
    expect(await expectRefused(main, 'PredictedPauseOverBudget', options)).toMatch(
      /its budget is 1 ms.*set pauseBudget to at least \ds/s,
    );
  });

  test('and told as well by a dry run, which stops nobody when all is in order', async () => {
    const tooShort = await main.snapshot('--dry-run', '--capture', 'copy', '--budget', '1ms');
    expectFailed(tooShort, 'PredictedPauseOverBudget');
    const { exitCode, summary } = await main.snapshot('--dry-run', '--capture', 'copy');
    expect(exitCode).toBe(3);
    expect(summary).toMatchObject({ kind: 'dry-run', status: 'warning', snapshot: null, method: 'copy' });
    expect(summary.predictedPauseMs).toBeGreaterThan(0);
    expect(await stops()).toBe(stopsBefore);
  });
});

describe('a store that is not there is refused (fault 33)', () => {
  test('its filesystem not mounted, an empty directory in its place: nothing is written under it', async () => {
    const aside = `${main.store}.aside`;
    await rename(main.store, aside);
    await mkdir(main.store);
    try {
      const summary = expectFailed(await main.snapshot(), 'StoreNotMounted');
      expect(summary.error?.message).toContain('its marker file is not there');
      expect(await stops()).toBe(stopsBefore);
      await expectRuns(guest);
    } finally {
      // Fails, as it should, if anything was written into it.
      await rename(aside, main.store);
    }
  });
});

test('of all these, each has its row in the history, and none has left or lost anything', async () => {
  const refusals = (await recordsOf(main)).jobs.size - before.jobs.size;
  expect(refusals).toBeGreaterThan(0);
  await expectNothingLost(main, before);
});
