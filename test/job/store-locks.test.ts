import { existsSync, readdirSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { storeLocks } from '../../src/job/guest-locks.js';
import { withLocks } from '../../src/locks/exclusive-lock.js';
import { DirectoryStore } from '../../src/store/directory-store.js';
import { tempDirOfFile } from '../support/temp-dir-of-file.js';

const dir = tempDirOfFile();

/** Runs `use` under the lock on a guest's part of a store, by whoever has this state directory. */
async function withPart<T>(state: string, store: string, use: () => Promise<T>): Promise<T> {
  const locks = await storeLocks(join(dir, state), store, 'debian');
  return await withLocks({ locks, holder: `of ${state}`, what: 'The part', wait: false }, use);
}

test('a guest’s part of a store is one part for all states that share the store: none of them takes a job of another for dead', async () => {
  const path = join(dir, 'store');
  await new DirectoryStore({ name: 'local', path }).prepare(null);
  await withPart('one', path, async () => {
    const busy = { code: 'Busy', facts: { holder: 'of one' } };
    for (const state of ['one', 'other']) {
      await expect(withPart(state, path, async () => expect.unreachable())).rejects.toMatchObject(busy);
    }
  });
  expect(await withPart('other', path, async () => 'free')).toBe('free');
});

test('under the mount of a store that is away nothing is made, and what can’t be made in a store is done without', async () => {
  const [away, odd] = [join(dir, 'away'), join(dir, 'odd')];
  await mkdir(away);
  expect(await withPart('one', away, async () => readdirSync(away))).toEqual([]);
  for (const path of [join(dir, 'missing'), 'sftp:somewhere:/store']) {
    expect(await withPart('one', path, async () => existsSync(path))).toBe(false);
  }
  await new DirectoryStore({ name: 'local', path: odd }).prepare(null);
  await writeFile(join(odd, '.locks'), 'in its place');
  expect(await withPart('one', odd, async () => 'without')).toBe('without');
});
