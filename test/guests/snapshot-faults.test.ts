import { copyFile, open, readFile, rename, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { canTrace, withInjected } from '../capture/traced.js';
import { beforeGo, startHeld } from '../snapshot/held-job.js';
import {
  expectFailed,
  expectNothingLost,
  expectRuns,
  type Records,
  recordsOf,
  type Scene,
  setScene,
  ticker,
} from '../snapshot/scene.js';
import { type MconsoleProxy, startMconsoleProxy } from '../support/mconsole-proxy.js';
import { bootGuest, type RealGuest } from '../support/real-guest.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';

/** What goes wrong with the copy while the guest stands still, by the command line on a real guest. */

let dir: string;
let guest: RealGuest;
let proxy: MconsoleProxy;
let scene: Scene;
let before: Records;

beforeAll(async () => {
  dir = await makeTempDir();
  guest = await bootGuest({ dir, writer: 'none', fillMiB: 16, rc: ticker });
  proxy = await startMconsoleProxy({ listenPath: join(dir, 'proxy'), guestSocketPath: guest.socketPath });
  const settings = { pauseBudget: '20s', capture: 'copy' };
  scene = await setScene({ dir, mconsole: proxy.socketPath, disks: guest.disks, settings });
  expect((await scene.snapshot()).exitCode).toBe(3);
  before = await recordsOf(scene);
});
afterAll(async () => {
  await proxy?.close();
  await guest?.kill();
  await removeTempDir(dir);
});

async function expectUnharmed(): Promise<void> {
  await expectRuns(guest);
  const after = await expectNothingLost(scene, before);
  expect(after.sound).toEqual(before.sound);
  before = after;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** What a scheduler of two busy cores may add to a deadline. */
const slackMs = 1000;

describe('a copy that would take longer than the budget', () => {
  test.each([50, 1000])(
    'is cut at %i ms, the guest resumed first, and nothing is left of it (fault 23)',
    async (budgetMs) => {
      // Its speed was measured, so only a copy that hangs gets this far.
      const job = await startHeld(scene, proxy, '--budget', `${budgetMs}ms`, '--capture', 'copy');
      process.kill(job.captureChild, 'SIGSTOP');
      const pausesBefore = (await proxy.pauses()).length;
      const summary = expectFailed(await job.end(), 'PauseBudgetExceeded');
      expect(summary).toMatchObject({ status: 'failed', resumed: true });
      // On a busy host the shorter one is over before the drain is.
      expect(['sync', 'capture']).toContain(summary.error?.phase);
      const [pausedMs = Number.NaN, ...more] = (await proxy.pauses()).slice(pausesBefore);
      expect(more).toEqual([]);
      expect(pausedMs).toBeGreaterThan(budgetMs / 2);
      expect(pausedMs).toBeLessThan(budgetMs + slackMs);
      expect(Math.abs(Number(summary.pausedMs) - pausedMs)).toBeLessThan(slackMs);
      await waitFor('the copier to be gone', () => !isAlive(job.captureChild));
      await expectUnharmed();
    },
  );
});

describe('a copier that dies', () => {
  test('while the guest stands still is noticed at once, not at the deadline (fault 26)', async () => {
    const job = await startHeld(scene, proxy);
    process.kill(job.captureChild, 'SIGSTOP');
    await proxy.hold('stop');
    await job.letGo();
    await job.leased();
    const pausesBefore = (await proxy.pauses()).length;
    await proxy.release('stop');
    await waitFor('the pause', () => guestIsStopped());
    process.kill(job.captureChild, 'SIGKILL');
    const summary = expectFailed(await job.end(), 'CaptureFailed');
    expect(summary.error?.message).toMatch(/ended unexpectedly \(SIGKILL\)/);
    const [pausedMs = Number.NaN] = (await proxy.pauses()).slice(pausesBefore);
    expect(pausedMs).toBeLessThan(10_000);
    await expectUnharmed();
  });

  test('before the pause makes the capture void, and the guest runs on', async () => {
    const job = await startHeld(scene, proxy);
    process.kill(job.captureChild, 'SIGKILL');
    expectFailed(await job.end(), 'CaptureFailed');
    await expectUnharmed();
  });
});

/** Sees from the host whether the guest stands still in its management console. */
async function guestIsStopped(): Promise<boolean> {
  return (await readFile(`/proc/${guest.pid}/wchan`, 'utf8')).includes('wait_for_more_packets');
}

const traceable = await canTrace();
describe.skipIf(!traceable)(
  `an I/O error${traceable ? '' : ' (skipped: strace is missing or may not trace)'}`,
  () => {
    test('on the disk while it is copied is no zeros in a snapshot (fault 24)', async () => {
      const job = await startHeld(scene, proxy);
      const faults = ['sendfile:error=EIO', 'pread64:error=EIO'];
      const result = await withInjected(job.captureChild, faults, () => job.end());
      const summary = expectFailed(result, 'CaptureFailed');
      expect(summary.error).toMatchObject({ phase: 'capture' });
      expect(summary.error?.message).toContain("the disk can't be read (EIO)");
      await expectUnharmed();
    });

    test.each([
      ['the image', (incoming: string) => join(incoming, 'ubd0.img')],
      ['the directory of the new snapshot', (incoming: string) => incoming],
      ["the guest's directory, after the rename", () => join(scene.store, 'debian')],
    ])('at the fsync of %s throws the copy away, and it is not tried again (fault 31)', async (_, pathOf) => {
      const job = await startHeld(scene, proxy);
      const result = await withInjected(
        job.cli.pid,
        ['fsync:error=EIO'],
        () => job.end(),
        pathOf(job.incoming),
      );
      const summary = expectFailed(result, 'StoreUnusable');
      expect(summary.error).toMatchObject({ phase: 'seal' });
      expect(summary.error?.message).toContain('EIO');
      await expectUnharmed();
    });
  },
);

test('a guest that does not hear `go` ten times is resumed by the next one, and not drowned in them', async () => {
  const job = await startHeld(scene, proxy);
  const seen = (await proxy.events()).length;
  await proxy.drop('go', 10, 'request');
  const { summary } = await job.end();
  expect(summary).toMatchObject({ error: null, consistency: 'synced' });
  const asked = (await proxy.events())
    .slice(seen)
    .filter(({ command, what }) => command === 'go' && what === 'request');
  expect(asked.length).toBeLessThan(20);
  await expectRuns(guest);
  before = await expectNothingLost(scene, before);
});

describe('a copy that is not what was captured', () => {
  test('by a byte that flipped before the seal is no snapshot (fault 28)', async () => {
    const job = await startHeld(scene, proxy);
    const { result } = await beforeGo(job, proxy, async () => {
      const copy = await open(join(job.incoming, 'ubd0.img'), 'r+');
      await copy.write(Buffer.from('x'), 0, 1, 4096);
      await copy.close();
    });
    const summary = expectFailed(result, 'CaptureDamaged');
    expect(summary.error).toMatchObject({ phase: 'seal' });
    await expectUnharmed();
  });

  test('by a file that somebody put beside it is no snapshot', async () => {
    const job = await startHeld(scene, proxy);
    await copyFile('/etc/hostname', join(job.incoming, 'extra'));
    expectFailed(await job.end(), 'Internal');
    await expectUnharmed();
  });
});

describe('a disk that changes under the capture makes it void (fault 25)', () => {
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
    await expectUnharmed();
  });

  // Last: from here on the guest's disk has no name any more.
  test('as another file takes its place', async () => {
    const other = join(dir, 'other.img');
    await copyFile(guest.diskPath, other);
    const job = await startHeld(scene, proxy);
    await rename(other, guest.diskPath);
    const summary = expectFailed(await job.end(), 'SourceChanged');
    expect(summary.error?.message).toContain('deleted or replaced');
    await expectUnharmed();
  });
});
