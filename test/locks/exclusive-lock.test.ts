import { randomUUID } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { holderOf, type LockRequest, withLocks } from '../../src/locks/exclusive-lock.js';
import type { Lock } from '../../src/locks/lock.js';
import { readProcessStat } from '../../src/process-identity.js';
import { fillUpTo } from '../store/fill-up.js';
import { whyNoLoopMount, withLoopFilesystem } from '../support/loop-filesystem.js';
import { runTool, tryTool } from '../support/run-tool.js';
import { type ScriptChild, startScript } from '../support/script-child.js';
import { tempDirOfFile } from '../support/temp-dir-of-file.js';
import { waitFor } from '../support/wait-for.js';
import { whileFlocked } from '../support/while-flocked.js';

const isRoot = process.getuid?.() === 0;
const dir = tempDirOfFile();
const state = join(dir, 'state');
const nobody = 65534;

type StateLock = Extract<Lock, { on: 'state' }>;
const newLock = (of = state): StateLock => ({ on: 'state', state: of, key: randomUUID() });
let lock: StateLock;
beforeEach(() => {
  lock = newLock();
});
const children: ScriptChild[] = [];
afterEach(async () => {
  for (const child of children.splice(0)) {
    child.kill('SIGKILL');
    await child.exited;
  }
});

/** Another process of ours that holds the locks. */
async function otherHolds(locks: Lock[], holder = 'x', through: string[] = []): Promise<ScriptChild> {
  const script = new URL('./exclusive-lock-child.ts', import.meta.url);
  const args = [holder, ...locks.map((one) => JSON.stringify(one))];
  const child = startScript(script, args, {}, through);
  children.push(child);
  await child.waitForLine('held');
  return child;
}

/** Takes the locks, and gives them back when `use` is through. */
const take = <T>(locks: Lock[], use: () => Promise<T>, changes: Partial<LockRequest> = {}) =>
  withLocks({ locks, holder: 'this test', what: 'Guest debian', wait: false, ...changes }, use);
const taken = async () => 'taken';
const busy = (holder: unknown) => ({ code: 'Busy', facts: { what: 'Guest debian', holder } });

describe('a lock held by another process', () => {
  test('is refused at once, in the words of its holder, and free when it lets go', async () => {
    const other = await otherHolds([lock], 'umlsnap snapshot debian (pid 7)');
    await expect(take([lock], taken)).rejects.toMatchObject(busy('umlsnap snapshot debian (pid 7)'));
    other.go();
    await other.waitForLine('released');
    expect(await take([lock], taken)).toBe('taken');
  });

  test('is waited for when that is wanted, and free the moment that its holder is killed', async () => {
    const other = await otherHolds([lock]);
    let isTaken = false;
    const waiting = take([lock], taken, { wait: true }).then(() => {
      isTaken = true;
    });
    await expect(take([lock], taken)).rejects.toMatchObject(busy('x'));
    expect(isTaken).toBe(false);
    other.kill('SIGKILL');
    await waiting;
  });

  test('is not waited for any longer once the jobs are given up, however many: they leave no descriptor', async () => {
    await otherHolds([lock]);
    const descriptors = () => readdirSync('/proc/self/fd').length;
    const before = descriptors();
    const controller = new AbortController();
    const { signal } = controller;
    setMaxListeners(0, signal);
    const waiting = Array.from({ length: 200 }, () => take([lock], taken, { wait: true, signal }));
    const outcomes = Promise.allSettled(waiting);
    await expect(take([lock], taken)).rejects.toMatchObject(busy('x'));
    controller.abort(new Error('given up'));
    const reasons = (await outcomes).map((outcome) => 'reason' in outcome && outcome.reason.message);
    expect(new Set(reasons)).toEqual(new Set(['given up']));
    expect(descriptors()).toBeLessThanOrEqual(before);
  });

  test('is told by a holder that is SIGSTOPped as well, and means the same by another path to its state', async () => {
    const other = await otherHolds([lock]);
    process.kill(other.pid, 'SIGSTOP');
    await waitFor('the holder to stand still', () => readProcessStat(other.pid)?.state === 'T');
    const link = join(dir, randomUUID());
    symlinkSync(state, link);
    await expect(take([{ ...lock, state: link }], taken)).rejects.toMatchObject(busy('x'));
  });

  test.runIf(isRoot)('is held in another network namespace as well', async () => {
    await otherHolds([lock], 'x', ['unshare', '--net']);
    await expect(take([lock], taken)).rejects.toMatchObject(busy('x'));
  });
});

test.runIf(isRoot)('a lock can be held by nobody who may not write the state directory', async () => {
  chmodSync(dir, 0o711);
  await take([lock], async () => {
    chmodSync(state, 0o711);
    const [file = ''] = readdirSync(join(state, 'locks'));
    const path = join(state, 'locks', file);
    expect(statSync(join(state, 'locks')).mode & 0o777).toBe(0o700);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const asNobody = ['--reuid', `${nobody}`, '--regid', `${nobody}`, '--clear-groups'];
    for (const wanted of [path, join(state, 'locks', 'new'), join(state, 'locks')]) {
      const { output } = await tryTool('setpriv', [...asNobody, 'flock', '-n', wanted, 'true']);
      expect(output).toMatch(/Permission denied/);
    }
  });
});

test('who holds a lock is told without taking it, without control characters and without end', async () => {
  expect(await holderOf(lock)).toBeUndefined();
  const told = `?[2Jevil?${'x'.repeat(191)}`;
  const look = async () => {
    expect(await holderOf(newLock(), lock)).toBe(told);
    await expect(take([lock], taken)).rejects.toMatchObject(busy(told));
  };
  await take([lock], look, { holder: `\u001b[2Jevil\n${'x'.repeat(5000)}` });
  expect(await holderOf(lock)).toBeUndefined();
  await take([lock], async () => expect(await holderOf(lock)).toBe('brief'), { holder: 'brief' });
});

test('who only asks makes no state directory', async () => {
  const nowhere = join(dir, 'nowhere');
  expect(await holderOf({ ...lock, state: nowhere })).toBeUndefined();
  expect(existsSync(nowhere)).toBe(false);
});

const whyNoMount = whyNoLoopMount('ext4');
if (whyNoMount !== undefined) console.warn(`SKIPPED: locks on a full and on a read-only disk: ${whyNoMount}`);

test.skipIf(whyNoMount !== undefined)(
  'what a dead job had locked can be locked on a disk that is full or read-only by now, and is kept from whoever is beside it',
  () =>
    withLoopFilesystem({ type: 'ext4', sizeMiB: 16, inodes: 64 }, async (mountPoint) => {
      const own = newLock(join(mountPoint, 'state'));
      const dead = await otherHolds([own]);
      const living = newLock(own.state);
      const holder = await otherHolds([living], 'the living');
      dead.kill('SIGKILL');
      await dead.exited;
      await fillUpTo(join(mountPoint, 'fill'), 0);
      await tryTool('sh', ['-c', 'while touch "$0/$(date +%N)"; do :; done', mountPoint]);

      const exclusive = async () => {
        await expect(take([own], taken)).rejects.toMatchObject(busy('this test'));
      };
      await take([own], exclusive);
      const unusable = { code: 'StateUnusable', facts: { problem: expect.stringContaining('no room left') } };
      await expect(take([newLock(own.state)], taken)).rejects.toMatchObject(unusable);
      await expect(take([living], taken)).rejects.toMatchObject(busy('the living'));
      const readOnly = join(dir, 'read-only');
      mkdirSync(readOnly);
      await runTool('mount', ['--bind', '-o', 'ro', own.state, readOnly]);
      try {
        await expect(take([{ ...living, state: readOnly }], taken)).rejects.toMatchObject(busy('the living'));
        const byJob = () => expect(take([own], taken)).rejects.toMatchObject(busy('another process'));
        await take([{ ...own, state: readOnly }], byJob);
      } finally {
        await runTool('umount', [readOnly]);
      }

      holder.go();
      await holder.exited;
      await runTool('mount', ['-o', 'remount,ro', mountPoint]);
      expect(await take([own, newLock(own.state), newLock(join(mountPoint, 'other'))], taken)).toBe('taken');
      expect(await holderOf(own)).toBeUndefined();
    }),
);

describe('a disk', () => {
  const disk = join(dir, 'disk.img');
  const locks: Lock[] = [newLock(), { on: 'disk', path: disk }];
  beforeEach(() => writeFileSync(disk, 'disk', { mode: 0o644 }));

  test('is locked for all states that know it, and so is the one that a restore puts in its place', async () => {
    const other = await otherHolds([newLock(join(dir, 'other-state')), { on: 'disk', path: disk }]);
    const words = expect.stringMatching(new RegExp(`exclusive-lock-child.* \\(pid ${other.pid}\\)$`));
    await expect(take(locks, taken)).rejects.toMatchObject(busy(words));
    const seen = take(locks, () => otherIsRefused(), { wait: true });
    writeFileSync(join(dir, 'restored.img'), 'restored');
    await rename(join(dir, 'restored.img'), disk);
    other.go();
    await seen;
    const twice: Lock[] = [...locks, { on: 'disk', path: join(dir, '.', 'disk.img') }];
    expect(await take(twice, taken)).toBe('taken');

    async function otherIsRefused() {
      const { exitCode } = await tryTool('flock', ['-n', disk, 'true']);
      expect(exitCode).toBe(1);
    }
  });

  test('locked by a job of our own state is told in the words of that job', async () => {
    await otherHolds(locks, 'umlsnap prune (pid 7)');
    await expect(take(locks.toReversed(), taken)).rejects.toMatchObject(busy('umlsnap prune (pid 7)'));
  });

  test('that is not there, or is no file, is not locked', async () => {
    const odd = [join(dir, 'missing.img'), dir, '/dev/null'].map((path): Lock => ({ on: 'disk', path }));
    expect(await take([...locks, ...odd], taken)).toBe('taken');
  });

  describe.runIf(isRoot)('locked by somebody who may only read it', () => {
    test('is ours to work on, and the state excludes alone: him as himself, and as a program that is root’s by its mode', async () => {
      const setuid = join(dir, 'setuid');
      copyFileSync('/bin/sleep', setuid);
      chmodSync(setuid, 0o4755);
      chmodSync(dir, 0o711);
      for (const turnsInto of [[], [setuid, '600']]) {
        await whileFlocked(disk, { uid: nobody, turnsInto }, async (pid) => {
          if (turnsInto.length > 0)
            await waitFor('the program', () => statSync(`/proc/${pid}/exe`).ino === statSync(setuid).ino);
          expect(await take(locks, taken)).toBe('taken');
        });
      }
    });

    test('is not ours when he is root, or has the disk; of him who has it no memory is read, as his command line is', async () => {
      for (const [uid, shown] of [
        [0, 'perl -e .*'],
        [12345, 'perl '],
      ] as const) {
        await runTool('chown', ['12345', disk]);
        await whileFlocked(disk, { uid }, async (pid) => {
          const words = expect.stringMatching(new RegExp(`^${shown}\\(pid ${pid}\\)$`));
          await expect(take(locks, taken)).rejects.toMatchObject(busy(words));
        });
      }
    });
  });
});

describe('several locks', () => {
  test('wanted in opposite orders by many at once are all had in turn: nobody holds one each for ever', async () => {
    const locks = [newLock(), newLock(), newLock()];
    let holders = 0;
    const use = async () => {
      holders += 1;
      expect(holders).toBe(1);
      await new Promise((resolve) => setImmediate(resolve));
      holders -= 1;
    };
    const orders = Array.from({ length: 20 }, (_, n) => (n % 2 ? locks : locks.toReversed()));
    await Promise.all(orders.map((order) => take(order, use, { wait: true })));
  });

  test('are all let go when one of them is refused', async () => {
    const [first, second] = [newLock(), newLock()];
    for (const [free, held] of [
      [first, second],
      [second, first],
    ] as const) {
      const other = await otherHolds([held]);
      await expect(take([held, free], taken)).rejects.toMatchObject(busy('x'));
      expect(await take([free], taken)).toBe('taken');
      other.kill('SIGKILL');
      await other.exited;
    }
  });

  test('are let go when the work fails, and one named twice is taken once', async () => {
    const work = take([lock, lock], () => Promise.reject(new Error('broken')));
    await expect(work).rejects.toThrow('broken');
    expect(await take([lock], taken)).toBe('taken');
  });

  test('let go in the very moment in which they are asked for are taken, not refused for a holder that is gone', async () => {
    const one = () => take([lock], () => sleep(3).then(taken)).catch((error) => error.facts.holder);
    const outcomes = await Promise.all(Array.from({ length: 40 }, one));
    expect(new Set(outcomes)).toEqual(new Set(['taken', 'this test']));
  });
});
