import { copyFile, open, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { canTrace, withInjected } from '../capture/traced.js';
import { beforeGo, startHeld } from '../support/held-job.js';
import { expectFailed, setScene } from '../support/scene.js';
import { waitFor } from '../support/wait-for.js';

/** What goes wrong with the copy while the guest stands still, by the command line on a real guest. */

const scene = setScene({ guest: { fillMiB: 16 }, proxied: true, settings: { capture: 'copy' } });

// First: what it keeps is there for the faults after it, and none of them may take it.
test('a guest that does not hear `go` ten times is resumed by the next one, and not drowned in them', async () => {
  const { proxy } = scene;
  const job = await startHeld(scene);
  await proxy.drop('go', 10, 'request');
  const { summary } = await job.end();
  expect(summary).toMatchObject({ error: null, consistency: 'synced' });
  const asked = (await proxy.events()).filter(({ command, what }) => command === 'go' && what === 'request');
  const [first, last] = [asked[0], asked.at(-1)].map((go) => go?.atMs ?? Number.NaN);
  expect(asked.length).toBeGreaterThan(10);
  // Six in the first moments, and then four a second; the rest is for a proxy that had to wait for its turn.
  expect(asked.length).toBeLessThan(11 + ((last ?? 0) - (first ?? 0)) / 250);
  await scene.expectWell();
});

test('a copy that would take longer than the budget is cut, the guest resumed, and nothing is left of it (fault 23)', async () => {
  const budgetMs = 3_000;
  // Its speed was measured, so only a copy that hangs gets this far.
  const job = await startHeld(scene, ['--budget', `${budgetMs}ms`]);
  process.kill(job.captureChild, 'SIGSTOP');
  const pausesBefore = (await scene.proxy.pauses()).length;
  const summary = expectFailed(await job.end(), 'PauseBudgetExceeded');
  expect(summary).toMatchObject({ status: 'failed', resumed: true });
  // A host that is busy enough spends a budget of any length on the drain.
  expect(['sync', 'capture']).toContain(summary.error?.phase);
  const pauses = (await scene.proxy.pauses()).slice(pausesBefore);
  expect(pauses).toHaveLength(1);
  for (const pausedMs of [...pauses, Number(summary.pausedMs)]) {
    expect(pausedMs).toBeGreaterThan(budgetMs / 2);
    // It would have hung for ever.
    expect(pausedMs).toBeLessThan(budgetMs * 5);
  }
  await scene.expectUnharmed();
});

test('a copier that dies while the guest stands still is noticed at once, not at the deadline (fault 26)', async () => {
  const job = await startHeld(scene);
  process.kill(job.captureChild, 'SIGSTOP');
  const pausesBefore = (await scene.proxy.pauses()).length;
  const ended = job.end();
  await waitFor('the pause', guestIsStopped);
  process.kill(job.captureChild, 'SIGKILL');
  const summary = expectFailed(await ended, 'CaptureFailed');
  expect(summary.error?.message).toMatch(/ended unexpectedly \(SIGKILL\)/);
  const [pausedMs] = (await scene.proxy.pauses()).slice(pausesBefore);
  // Of a budget of 60 s.
  expect(pausedMs).toBeLessThan(30_000);
  await scene.expectUnharmed();
});

/** Sees from the host whether the guest stands still in its management console. */
async function guestIsStopped(): Promise<boolean> {
  return (await readFile(`/proc/${scene.guest.pid}/wchan`, 'utf8')).includes('wait_for_more_packets');
}

const traceable = await canTrace();
describe.skipIf(!traceable)(
  `an I/O error${traceable ? '' : ' (skipped: strace is missing or may not trace)'}`,
  () => {
    test('on the disk while it is copied is no zeros in a snapshot (fault 24)', async () => {
      const job = await startHeld(scene);
      const faults = ['sendfile:error=EIO', 'pread64:error=EIO'];
      const result = await withInjected(job.captureChild, faults, () => job.end());
      const summary = expectFailed(result, 'CaptureFailed');
      expect(summary.error).toMatchObject({ phase: 'capture' });
      expect(summary.error?.message).toContain("the disk can't be read (EIO)");
      await scene.expectUnharmed();
    });

    test("at the fsync of the guest's directory, after the rename, throws the copy away (fault 31)", async () => {
      const job = await startHeld(scene);
      const directory = join(scene.store, 'debian');
      const inject = ['fsync:error=EIO'];
      const result = await withInjected(job.cli.pid, inject, () => job.end(), directory);
      const summary = expectFailed(result, 'StoreUnusable');
      expect(summary.error).toMatchObject({ phase: 'seal', message: expect.stringContaining('EIO') });
      await scene.expectUnharmed();
    });
  },
);

describe('a copy that is not what was captured is no snapshot', () => {
  test.each([
    ['a byte flipped before the seal (fault 28)', 'CaptureDamaged', flipByte],
    [
      'somebody put a file beside it',
      'Internal',
      (dir: string) => copyFile('/etc/hostname', join(dir, 'extra')),
    ],
  ])('%s', async (_, code, change) => {
    const job = await startHeld(scene);
    const { result } = await beforeGo(job, scene.proxy, () => change(job.incoming));
    const summary = expectFailed(result, code);
    expect(summary.error).toMatchObject({ phase: 'seal' });
    await scene.expectUnharmed();
  });
});

async function flipByte(incoming: string): Promise<void> {
  const copy = await open(join(incoming, 'ubd0.img'), 'r+');
  await copy.write(Buffer.from('x'), 0, 1, 4096);
  await copy.close();
}

// Last: from here on the guest's disk has no name any more.
test('a disk that another file takes the place of makes the capture void (fault 25)', async () => {
  const other = scene.path('other.img');
  await copyFile(scene.guest.diskPath, other);
  const job = await startHeld(scene);
  await rename(other, scene.guest.diskPath);
  const summary = expectFailed(await job.end(), 'SourceChanged');
  expect(summary.error?.message).toContain('deleted or replaced');
  await scene.expectUnharmed();
});
