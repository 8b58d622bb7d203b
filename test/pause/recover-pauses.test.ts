import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { MconsoleClient } from '../../src/mconsole/mconsole-client.js';
import { leaseFile, writeLease } from '../../src/pause/lease.js';
import { type RecoveredPause, recoverPauses } from '../../src/pause/recover-pauses.js';
import { ownIdentity, readProcessStat } from '../../src/process-identity.js';
import { type FakeGuest, type Misbehaviour, startFakeGuest, withFakeGuest } from '../fixtures/fake-guest.js';
import { withTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';

/** Ended long ago: their pids are free, or somebody else's by now. */
const dead = { pid: 4_194_300, startTicks: 1 };

interface Stage {
  dir: string;
  fake: FakeGuest;
  /** Writes a lease on the fake guest; of dead processes, if not told otherwise. */
  lease(changes?: Partial<Parameters<typeof writeLease>[1]>): Promise<void>;
  recover(guest?: string): Promise<RecoveredPause[]>;
  gos(): number;
}

/** A fake guest that stands paused, as one that we left so. */
const withPaused = (use: (stage: Stage) => Promise<void>, misbehave: Misbehaviour[] = []) =>
  withTempDir((dir) =>
    withFakeGuest({ dir: join(dir, 'g'), misbehave }, async (fake) => {
      const client = await MconsoleClient.open(fake.socketPath);
      await client.request('stop', { timeoutMs: 10_000 });
      client.close();
      const main = { pid: fake.pid, startTicks: readProcessStat(fake.pid)?.startTicks ?? 0 };
      await use({
        ...{ dir, fake },
        lease: (changes) =>
          writeLease(leaseFile(dir, 'debian'), {
            ...{ guest: 'debian', job: 'job', pause: 'job.1', socketPath: fake.socketPath, main },
            ...{ orchestrator: dead, guardian: dead, deadlineAt: new Date().toISOString() },
            ...changes,
          }),
        recover: (guest) => recoverPauses(dir, guest),
        gos: () => fake.received().filter(({ command }) => command === 'go').length,
      });
    }),
  );

describe('recover', () => {
  test('resumes a guest that dead processes of ours left paused', () =>
    withPaused(async ({ fake, lease, recover }) => {
      await lease();
      expect(await recover()).toMatchObject([
        { found: 'over', end: { endedBy: 'recover' }, resumedByUs: true },
      ]);
      expect(fake.isPaused()).toBe(false);
    }));

  test('resumes it though several start at the same moment: one does it, the others let that one', () =>
    withPaused(async ({ fake, lease, recover }) => {
      await lease();
      const found = (await Promise.all(Array.from({ length: 5 }, () => recover()))).flat();
      expect(found.filter(({ found: state }) => state === 'over')).not.toEqual([]);
      for (const { found: state } of found) expect(['over', 'inProgress']).toContain(state);
      expect(fake.isPaused()).toBe(false);
    }));

  test('of one guest leaves the others alone', () =>
    withPaused(async ({ fake, lease, recover }) => {
      await lease();
      expect(await recover('fedora')).toEqual([]);
      expect(fake.isPaused()).toBe(true);
    }));

  test('goes on through a guest that loses its first answers', () =>
    withPaused(
      async ({ fake, lease, recover }) => {
        await lease();
        expect(await recover()).toMatchObject([{ found: 'over' }]);
        expect(fake.isPaused()).toBe(false);
      },
      [{ on: 'go', times: 3, fault: { kind: 'dropAnswer' } }],
    ));

  test('says loudly that a guest which answers nothing may be paused', () =>
    withPaused(async ({ fake, lease, recover }) => {
      await lease();
      process.kill(fake.pid, 'SIGSTOP');
      expect(await recover()).toMatchObject([{ found: 'mayBePaused', guest: 'debian' }]);
      process.kill(fake.pid, 'SIGCONT');
      // Its answer is still wanted: the next one asks again.
      await waitFor('the guest to run', () => !fake.isPaused());
      expect(await recover()).toMatchObject([{ found: 'over' }]);
    }));
});

describe('no go is sent', () => {
  test('for a lease of another boot, though all of its pids live', () =>
    withPaused(async ({ dir, fake, lease, recover, gos }) => {
      await lease({ orchestrator: dead });
      const file = leaseFile(dir, 'debian');
      const text = readFileSync(file, 'utf8').replace(/"bootId":"[^"]+"/, '"bootId":"0-0"');
      writeFileSync(file, text);
      expect(await recover()).toMatchObject([
        { found: 'over', end: { endedBy: 'guestGone' }, resumedByUs: false },
      ]);
      expect(gos()).toBe(0);
      expect(fake.isPaused()).toBe(true);
    }));

  test("to a process that has the guest's pid now", () =>
    withPaused(async ({ fake, lease, recover, gos }) => {
      await lease({ main: { pid: fake.pid, startTicks: 1 } });
      expect(await recover()).toMatchObject([
        { found: 'over', end: { endedBy: 'guestGone' }, resumedByUs: false },
      ]);
      expect(gos()).toBe(0);
      expect(fake.isPaused()).toBe(true);
    }));

  test('while the job that paused it is at work', () =>
    withPaused(async ({ lease, recover, gos }) => {
      const self = ownIdentity();
      await lease({ orchestrator: self, guardian: self });
      expect(await recover()).toMatchObject([{ found: 'inProgress' }]);
      expect(gos()).toBe(0);
    }));

  test('for a lease that can`t be read: what it says is unknown, and that is said', () =>
    withPaused(async ({ dir, lease, recover, gos }) => {
      await lease();
      writeFileSync(leaseFile(dir, 'debian'), '{"format":"umlsnap-le');
      expect(await recover()).toMatchObject([{ found: 'mayBePaused', guest: 'debian' }]);
      expect(gos()).toBe(0);
    }));

  test('to a guest that is gone, and another at its path is not mistaken for it', () =>
    withPaused(async ({ dir, fake, lease, recover }) => {
      await lease();
      await fake.stop();
      const successor = await startFakeGuest({ dir: join(dir, 'g') });
      try {
        expect(await recover()).toMatchObject([{ found: 'over', end: { endedBy: 'guestGone' } }]);
        expect(successor.received().filter(({ command }) => command === 'go')).toEqual([]);
      } finally {
        await successor.stop();
      }
    }));
});
