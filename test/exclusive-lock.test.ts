import { randomUUID } from 'node:crypto';
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, test } from 'vitest';
import { holderOf, type LockRequest, withLocks } from '../src/exclusive-lock.js';
import { readProcessStat } from '../src/process-identity.js';
import { type ScriptChild, startScript } from './support/script-child.js';
import { waitFor } from './support/wait-for.js';

const children: ScriptChild[] = [];
afterEach(async () => {
  for (const child of children.splice(0)) {
    child.kill('SIGKILL');
    await child.exited;
  }
});

/** Another process of ours that holds these locks. */
async function otherProcess(holder: string, ...keys: string[]): Promise<ScriptChild> {
  const child = startScript(new URL('./exclusive-lock-child.ts', import.meta.url), [holder, ...keys]);
  children.push(child);
  await child.waitForLine('held');
  return child;
}

const lock = (keys: string[], changes: Partial<LockRequest> = {}): LockRequest => ({
  keys,
  holder: 'this test',
  what: 'Guest debian',
  wait: false,
  ...changes,
});
const taken = async () => 'taken';
const busy = (holder: string) => ({ code: 'Busy', facts: { what: 'Guest debian', holder } });

describe('a lock held by another process', () => {
  test('is refused at once, in the words of its holder, and free when it lets go', async () => {
    const key = randomUUID();
    const other = await otherProcess('umlsnap snapshot debian (pid 7)', key);
    await expect(withLocks(lock([key]), taken)).rejects.toMatchObject(
      busy('umlsnap snapshot debian (pid 7)'),
    );
    other.go();
    await other.waitForLine('released');
    expect(await withLocks(lock([key]), taken)).toBe('taken');
  });

  test('is free the moment that its holder is killed, and leaves no file to clear away', async () => {
    const key = randomUUID();
    const other = await otherProcess('x', key);
    other.kill('SIGKILL');
    await other.exited;
    expect(await withLocks(lock([key]), taken)).toBe('taken');
  });

  test('is waited for when that is wanted, also through the death of its holder', async () => {
    const key = randomUUID();
    const other = await otherProcess('x', key);
    let isTaken = false;
    const waiting = withLocks(lock([key], { wait: true }), taken).then(() => {
      isTaken = true;
    });
    await expect(withLocks(lock([key]), taken)).rejects.toMatchObject(busy('x'));
    expect(isTaken).toBe(false);
    other.kill('SIGKILL');
    await waiting;
  });

  test('is not waited for any longer once the job is given up', async () => {
    const key = randomUUID();
    await otherProcess('x', key);
    const controller = new AbortController();
    const waiting = withLocks(lock([key], { wait: true, signal: controller.signal }), taken);
    controller.abort(new Error('given up'));
    await expect(waiting).rejects.toThrow('given up');
  });

  test('is held by a holder that is SIGSTOPped as well, though it says nothing', async () => {
    const key = randomUUID();
    const other = await otherProcess('x', key);
    process.kill(other.pid, 'SIGSTOP');
    await waitFor('the holder to stand still', () => readProcessStat(other.pid)?.state === 'T');
    await expect(withLocks(lock([key]), taken)).rejects.toMatchObject(busy('another process'));
  });

  test('tells its holder without control characters and without end', async () => {
    const key = randomUUID();
    const words = `\u001b[2Jevil\n${'x'.repeat(5000)}`;
    await withLocks(lock([key], { holder: words }), async () => {
      const refused = await withLocks(lock([key]), taken).catch((error) => error);
      expect(refused.facts.holder).toMatch(/^[\x20-\x7e]{1,200}$/);
    });
  });
});

describe('several locks', () => {
  test('wanted in opposite orders by many at once are all had in turn: nobody holds one each for ever', async () => {
    const keys = [randomUUID(), randomUUID(), randomUUID()];
    let holders = 0;
    const one = (order: string[]) =>
      withLocks(lock(order, { wait: true }), async () => {
        holders += 1;
        expect(holders).toBe(1);
        await new Promise((resolve) => setImmediate(resolve));
        holders -= 1;
      });
    await Promise.all(Array.from({ length: 40 }, (_, n) => one(n % 2 ? keys : [...keys].reverse())));
  });

  test('are all let go when one of them is refused', async () => {
    const [first = '', second = ''] = [randomUUID(), randomUUID()].sort();
    await otherProcess('x', second);
    await expect(withLocks(lock([second, first]), taken)).rejects.toMatchObject(busy('x'));
    expect(await withLocks(lock([first]), taken)).toBe('taken');
  });

  test('are let go when the work fails, and one named twice is taken once', async () => {
    const key = randomUUID();
    const work = withLocks(lock([key, key]), () => Promise.reject(new Error('broken')));
    await expect(work).rejects.toThrow('broken');
    expect(await withLocks(lock([key]), taken)).toBe('taken');
  });

  test('let go in the very moment in which they are asked for are taken, not refused for a holder that is gone', async () => {
    const key = randomUUID();
    const outcomes = await Promise.all(
      Array.from({ length: 40 }, () =>
        withLocks(lock([key]), () => sleep(3)).then(
          () => 'taken',
          (error) => error.facts.holder,
        ),
      ),
    );
    expect(new Set(outcomes)).toEqual(new Set(['taken', 'this test']));
  });
});

test('a server that is none of ours is no lock of ours', async () => {
  const foreign = createServer().listen({ path: `\0umlsnap-${randomUUID()}` });
  expect(await withLocks(lock([randomUUID()]), taken)).toBe('taken');
  foreign.close();
});

test('who holds a lock is told without taking it', async () => {
  const key = `look ${process.pid} ${Date.now()}`;
  expect(await holderOf(key)).toBeUndefined();
  const lock = { keys: [key], holder: 'a test (pid 1)', what: 'It', wait: false };
  await withLocks(lock, async () => {
    expect(await holderOf(key)).toBe('a test (pid 1)');
  });
  expect(await holderOf(key)).toBeUndefined();
});
