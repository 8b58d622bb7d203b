import { spawn } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { leaseFile, writeLease } from '../../src/pause/lease.js';
import { type LeaseFacts, type LeasePlan, planLease, recoverPauses } from '../../src/pause/recover-pauses.js';
import { type FakeGuest, startFakeGuest } from '../fixtures/fake-guest.js';
import { pidOf } from '../support/pid-of.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { identityOf, sayTo, wordsTo } from './paused-fake.js';

/** Ended long ago: their pids are free, or somebody else's by now. */
const dead = { pid: 4_194_300, startTicks: 1 };

let dir: string;
let fake: FakeGuest;
beforeAll(async () => {
  dir = await makeTempDir();
  fake = await startFakeGuest({ dir: join(dir, 'g') });
});
afterAll(async () => {
  await fake.stop();
  await removeTempDir(dir);
});
/** A guest that stands paused, as one that we left so. */
beforeEach(async () => {
  await fake.renew([]);
  await sayTo(fake, 'stop');
});

/** A lease on the guest; of dead processes, if not told otherwise. */
const lease = (changes: Partial<Parameters<typeof writeLease>[1]> = {}) =>
  writeLease(leaseFile(dir, 'debian'), {
    ...{ guest: 'debian', job: 'job', pause: 'job.1', socketPath: fake.socketPath, main: identityOf(fake) },
    ...{ orchestrator: dead, guardian: dead, deadlineAt: new Date().toISOString() },
    ...changes,
  });

function rewriteLease(change: (text: string) => string): void {
  const file = leaseFile(dir, 'debian');
  writeFileSync(file, change(readFileSync(file, 'utf8')));
}

describe('recover', () => {
  test('resumes a guest that dead processes of ours left paused, and is told so', async () => {
    await lease();
    expect(await recoverPauses(dir)).toMatchObject([
      { found: 'over', end: { endedBy: 'recover' }, resumedByUs: true },
    ]);
    expect(fake.isPaused()).toBe(false);
  });

  test('resumes one where no lock can be had: on a disk that is full, no job can begin beside it', async () => {
    await lease();
    rmSync(join(dir, 'locks'), { recursive: true, force: true });
    writeFileSync(join(dir, 'locks'), 'in its place');
    const found = await recoverPauses(dir).finally(() => rmSync(join(dir, 'locks')));
    expect(found).toMatchObject([{ found: 'over', resumedByUs: true }]);
    expect(fake.isPaused()).toBe(false);
  });

  test('resumes one that loses its first answers, though several start at the same moment', async () => {
    await fake.renew([{ on: 'go', times: 3, fault: { kind: 'dropAnswer' } }]);
    await sayTo(fake, 'stop');
    await lease();
    const found = (await Promise.all(Array.from({ length: 5 }, () => recoverPauses(dir)))).flat();
    // One does it, the others let that one.
    expect(found.filter(({ found: state }) => state === 'over')).not.toEqual([]);
    for (const { found: state } of found) expect(['over', 'inProgress']).toContain(state);
    expect(fake.isPaused()).toBe(false);
  });

  test('resumes one whose guardian is stopped itself, and would never do it', async () => {
    const guardian = spawn('sleep', ['infinity']);
    try {
      process.kill(pidOf(guardian), 'SIGSTOP');
      await lease({ guardian: identityOf({ pid: pidOf(guardian) }) });
      expect(await recoverPauses(dir)).toMatchObject([{ found: 'over', resumedByUs: true }]);
    } finally {
      guardian.kill('SIGKILL');
    }
  });

  test('of one guest leaves the others alone', async () => {
    await lease();
    expect(await recoverPauses(dir, 'fedora')).toEqual([]);
    expect(fake.isPaused()).toBe(true);
  });

  const gone = { found: 'over', end: { endedBy: 'guestGone' }, resumedByUs: false };
  test.each<[string, () => Promise<void>, object]>([
    [
      'for a lease of another boot, though all of its pids live',
      async () => {
        await lease({ orchestrator: identityOf(fake), guardian: identityOf(fake) });
        rewriteLease((text) => text.replace(/"bootId":"[^"]+"/, '"bootId":"0-0"'));
      },
      gone,
    ],
    [
      "to a process that has the guest's pid now",
      () => lease({ main: { pid: fake.pid, startTicks: 1 } }),
      gone,
    ],
    [
      'for a lease that can`t be read: what it says is unknown, and that is said',
      async () => {
        await lease();
        rewriteLease(() => '{"format":"umlsnap-le');
      },
      { found: 'mayBePaused', guest: 'debian' },
    ],
  ])('sends no go %s (fault 50)', async (_, leave, expected) => {
    await leave();
    expect(await recoverPauses(dir)).toMatchObject([expected]);
    expect(wordsTo({ fake })).toEqual(['stop']);
    expect(fake.isPaused()).toBe(true);
  });
});

describe('a lease that is found', () => {
  /** Of dead processes on a living guest: the one case in which `go` is ours to send. */
  const orphan: LeaseFacts = {
    ...{ sameBoot: true, noted: false, overdueMs: -1000 },
    ...{ mainAlive: true, orchestratorAlive: false, guardianAlive: false },
  };
  const alive = { orchestratorAlive: true, guardianAlive: true };
  const longAgo = { overdueMs: 24 * 3600 * 1000 };

  test.each<[string, Partial<LeaseFacts>, LeasePlan]>([
    ['of dead processes, long after its time, is resumed too', longAgo, 'resume'],
    ['with its end noted is only written down', { noted: true }, 'closeAsNoted'],
    ['with its end noted is left to the job that lives', { ...alive, noted: true }, 'leave'],
    ['of another boot gets no go though its pids live', { ...alive, sameBoot: false }, 'closeAsGone'],
    ['of another boot and long ago gets no go', { ...longAgo, sameBoot: false }, 'closeAsGone'],
    ['of a job at work is left to it', alive, 'leave'],
    ['whose guardian is dead is left to the job that lives', { orchestratorAlive: true }, 'leave'],
    ['whose job is dead is left to its guardian', { guardianAlive: true }, 'waitForGuardian'],
    ['whose guardian is stuck is resumed', { ...longAgo, guardianAlive: true }, 'resume'],
    ['whose job is stuck is resumed', { ...longAgo, orchestratorAlive: true }, 'resume'],
  ])('%s', (_, changes, plan) => {
    expect(planLease({ ...orphan, ...changes })).toBe(plan);
  });
});
