import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { withLocks } from '../../src/exclusive-lock.js';
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
  const endsByItselfAt = new Date(Date.now() + 600_000).toISOString();
  const socketPath = join(state, 'mconsole');
  const names = { guest: 'one', job: 'j', nonce: 'n', run: 'r' };
  await writeFreezeLease(file, { ...names, socketPath, main: us, orchestrator: us, endsByItselfAt });
  const lease = JSON.parse(await readFile(file, 'utf8'));
  await writeFile(file, JSON.stringify({ ...lease, ...changes }));
}

describe('a freeze lease that was left', () => {
  test('of another boot, or of a guest that is dead, is dropped, and nobody is asked to thaw', async () => {
    expect(await recoverFreezes(state)).toEqual([]);
    await leave({ bootId: 'another boot' });
    expect(await recoverFreezes(state)).toEqual([{ found: 'gone', guest: 'one' }]);
    expect(existsSync(file)).toBe(false);
    await leave({ main: { pid: process.pid, startTicks: 1 } });
    expect(await recoverFreezes(state)).toEqual([{ found: 'gone', guest: 'one' }]);
    expect(existsSync(file)).toBe(false);
  });

  test('of a guest that can not be thawed stays, and is told, until its own timer has thawed it', async () => {
    await leave();
    const problem = expect.stringContaining('mconsole');
    expect(await recoverFreezes(state)).toMatchObject([{ found: 'mayBeFrozen', guest: 'one', problem }]);
    expect(existsSync(file)).toBe(true);
    await leave({ endsByItselfAt: new Date(Date.now() - 1000).toISOString() });
    expect(await recoverFreezes(state)).toEqual([{ found: 'thawed', guest: 'one' }]);
    expect(existsSync(file)).toBe(false);
  });

  test('of a guest that somebody works on is his own', async () => {
    await leave({ bootId: 'another boot' });
    const lock = { keys: [leaseLock(state, 'one')], holder: 'a job', what: 'Guest one', wait: false };
    expect(await withLocks(lock, () => recoverFreezes(state))).toEqual([]);
    expect(existsSync(file)).toBe(true);
  });

  test('that can not be read is told and left', async () => {
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, '{');
    expect(await recoverFreezes(state)).toMatchObject([{ found: 'mayBeFrozen', guest: 'one' }]);
    expect(existsSync(file)).toBe(true);
  });
});
