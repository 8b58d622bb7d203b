import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { withLocks } from '../../src/locks/exclusive-lock.js';
import { type FreezeLease, freezeLeaseFile, writeFreezeLease } from '../../src/pause/freeze-lease.js';
import { leaseLock } from '../../src/pause/lease.js';
import { recoverFreezes } from '../../src/pause/recover-freezes.js';
import { ownIdentity } from '../../src/process-identity.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';

let state: string;
let file: string;
beforeEach(async () => {
  state = await makeTempDir();
  file = freezeLeaseFile(state, 'one');
});
afterEach(() => removeTempDir(state));

/** Of a guest whose main process is this test, and that has no console: whoever asks it to thaw fails. */
async function leave(changes: Partial<FreezeLease> = {}): Promise<void> {
  const us = ownIdentity();
  await writeFreezeLease(file, {
    ...{ guest: 'one', job: 'j', nonce: 'n', run: 'r', socketPath: join(state, 'mconsole') },
    ...{ main: us, orchestrator: us, endsByItselfAt: new Date(Date.now() + 600_000).toISOString() },
  });
  const lease = JSON.parse(await readFile(file, 'utf8'));
  await writeFile(file, JSON.stringify({ ...lease, ...changes }));
}

describe('a freeze lease that was left', () => {
  test.each<[string, Partial<FreezeLease>, 'gone' | 'thawed']>([
    ['of another boot', { bootId: 'another boot' }, 'gone'],
    ['of a guest that is dead', { main: { pid: process.pid, startTicks: 1 } }, 'gone'],
    ['of a guest whose own timer has thawed it', { endsByItselfAt: '2026-01-01T00:00:00.000Z' }, 'thawed'],
  ])('%s has nobody left to thaw, and is dropped', async (_, changes, found) => {
    expect(await recoverFreezes(state)).toEqual([]);
    await leave(changes);
    expect(await recoverFreezes(state)).toEqual([{ found, guest: 'one' }]);
    expect(existsSync(file)).toBe(false);
  });

  test('of a guest that can not be thawed stays, and is told', async () => {
    await leave();
    const problem = expect.stringContaining('mconsole');
    expect(await recoverFreezes(state)).toMatchObject([{ found: 'mayBeFrozen', guest: 'one', problem }]);
    expect(existsSync(file)).toBe(true);
  });

  test('of a guest that somebody works on is his own', async () => {
    await leave({ bootId: 'another boot' });
    const lock = { locks: [leaseLock(state, 'one')], holder: 'a job', what: 'Guest one', wait: false };
    expect(await withLocks(lock, () => recoverFreezes(state))).toEqual([]);
    expect(existsSync(file)).toBe(true);
  });

  test('is dealt with where no lock can be had, unless its job lives', async () => {
    await leave({ bootId: 'another boot' });
    await writeFile(join(state, 'locks'), 'in its place');
    expect(await recoverFreezes(state)).toEqual([]);
    await leave({ bootId: 'another boot', orchestrator: { pid: process.pid, startTicks: 1 } });
    expect(await recoverFreezes(state)).toEqual([{ found: 'gone', guest: 'one' }]);
  });

  test('that can not be read is told and left', async () => {
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, '{');
    expect(await recoverFreezes(state)).toMatchObject([{ found: 'mayBeFrozen', guest: 'one' }]);
    expect(existsSync(file)).toBe(true);
  });
});
