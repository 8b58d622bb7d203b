import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { holderOf, type LockRequest, withLocks } from '../src/exclusive-lock.js';
import { readProcessStat } from '../src/process-identity.js';
import { type ScriptChild, startScript } from './support/script-child.js';
import { waitFor } from './support/wait-for.js';

let key: string;
beforeEach(() => {
  key = randomUUID();
});
const children: ScriptChild[] = [];
afterEach(async () => {
  for (const child of children.splice(0)) {
    child.kill('SIGKILL');
    await child.exited;
  }
});

/** Another process of ours that holds the lock. */
async function otherHolds(key: string, holder = 'x'): Promise<ScriptChild> {
  const child = startScript(new URL('./exclusive-lock-child.ts', import.meta.url), [holder, key]);
  children.push(child);
  await child.waitForLine('held');
  return child;
}

/** Takes the locks, and gives them back when `use` is through. */
const take = <T>(keys: string[], use: () => Promise<T>, changes: Partial<LockRequest> = {}) =>
  withLocks({ keys, holder: 'this test', what: 'Guest debian', wait: false, ...changes }, use);
const taken = async () => 'taken';
const busy = (holder: string) => ({ code: 'Busy', facts: { what: 'Guest debian', holder } });

describe('a lock held by another process', () => {
  test('is refused at once, in the words of its holder, and free when it lets go', async () => {
    const other = await otherHolds(key, 'umlsnap snapshot debian (pid 7)');
    await expect(take([key], taken)).rejects.toMatchObject(busy('umlsnap snapshot debian (pid 7)'));
    other.go();
    await other.waitForLine('released');
    expect(await take([key], taken)).toBe('taken');
  });

  test('is waited for when that is wanted, and free the moment that its holder is killed', async () => {
    const other = await otherHolds(key);
    let isTaken = false;
    const waiting = take([key], taken, { wait: true }).then(() => {
      isTaken = true;
    });
    await expect(take([key], taken)).rejects.toMatchObject(busy('x'));
    expect(isTaken).toBe(false);
    other.kill('SIGKILL');
    await waiting;
  });

  test('is not waited for any longer once the job is given up', async () => {
    await otherHolds(key);
    const controller = new AbortController();
    const waiting = take([key], taken, { wait: true, signal: controller.signal });
    controller.abort(new Error('given up'));
    await expect(waiting).rejects.toThrow('given up');
  });

  test('is held by a holder that is SIGSTOPped as well, though it says nothing', async () => {
    const other = await otherHolds(key);
    process.kill(other.pid, 'SIGSTOP');
    await waitFor('the holder to stand still', () => readProcessStat(other.pid)?.state === 'T');
    await expect(take([key], taken)).rejects.toMatchObject(busy('another process'));
  });
});

test('who holds a lock is told without taking it, without control characters and without end', async () => {
  expect(await holderOf(key)).toBeUndefined();
  const told = `?[2Jevil?${'x'.repeat(191)}`;
  const look = async () => {
    expect(await holderOf(key)).toBe(told);
    await expect(take([key], taken)).rejects.toMatchObject(busy(told));
  };
  await take([key], look, { holder: `\u001b[2Jevil\n${'x'.repeat(5000)}` });
  expect(await holderOf(key)).toBeUndefined();
});

describe('several locks', () => {
  test('wanted in opposite orders by many at once are all had in turn: nobody holds one each for ever', async () => {
    const keys = [randomUUID(), randomUUID(), randomUUID()];
    let holders = 0;
    const use = async () => {
      holders += 1;
      expect(holders).toBe(1);
      await new Promise((resolve) => setImmediate(resolve));
      holders -= 1;
    };
    const orders = Array.from({ length: 40 }, (_, n) => (n % 2 ? keys : keys.toReversed()));
    await Promise.all(orders.map((order) => take(order, use, { wait: true })));
  });

  test('are all let go when one of them is refused', async () => {
    const [first = '', second = ''] = [randomUUID(), randomUUID()].sort();
    await otherHolds(second);
    await expect(take([second, first], taken)).rejects.toMatchObject(busy('x'));
    expect(await take([first], taken)).toBe('taken');
  });

  test('are let go when the work fails, and one named twice is taken once', async () => {
    const work = take([key, key], () => Promise.reject(new Error('broken')));
    await expect(work).rejects.toThrow('broken');
    expect(await take([key], taken)).toBe('taken');
  });

  test('let go in the very moment in which they are asked for are taken, not refused for a holder that is gone', async () => {
    const one = () => take([key], () => sleep(3).then(taken)).catch((error) => error.facts.holder);
    const outcomes = await Promise.all(Array.from({ length: 40 }, one));
    expect(new Set(outcomes)).toEqual(new Set(['taken', 'this test']));
  });
});
