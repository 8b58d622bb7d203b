import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { MconsoleClient } from '../../src/mconsole/mconsole-client.js';
import { leaseFile, writeLease } from '../../src/pause/lease.js';
import { type RecoveredPause, recoverPauses } from '../../src/pause/recover-pauses.js';
import { ownIdentity, readProcessStat } from '../../src/process-identity.js';
import { type FakeGuest, type Misbehaviour, startFakeGuest, withFakeGuest } from '../fixtures/fake-guest.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';

/** Ended long ago: their pids are free, or somebody else's by now. */
const dead = { pid: 4_194_300, startTicks: 1 };

interface Stage {
  dir: string;
  fake: FakeGuest;
  /** Writes a lease on the fake guest; of dead processes, if not told otherwise. */
  lease(changes?: Partial<Parameters<typeof writeLease>[1]>): Promise<void>;
  recover(guest?: string, patienceMs?: number): Promise<RecoveredPause[]>;
  gos(): number;
}

let dir: string;
let shared: FakeGuest;
beforeAll(async () => {
  dir = await makeTempDir();
  shared = await startFakeGuest({ dir: join(dir, 'g') });
});
afterAll(async () => {
  await shared.stop();
  await removeTempDir(dir);
});

/** A fake guest that stands paused, as one that we left so. */
async function withPaused(
  use: (stage: Stage) => Promise<void>,
  { misbehave = [], fake = shared }: { misbehave?: Misbehaviour[]; fake?: FakeGuest } = {},
): Promise<void> {
  await fake.renew(misbehave);
  const client = await MconsoleClient.open(fake.socketPath);
  await client.request('stop', { timeoutMs: 20_000 });
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
    recover: (guest, patienceMs) => recoverPauses(dir, guest, patienceMs),
    gos: () => fake.received().filter(({ command }) => command === 'go').length,
  });
}

describe('recover', () => {
  test.each<[string, Misbehaviour[]]>([
    ['that answers', []],
    ['that loses its first answers', [{ on: 'go', times: 3, fault: { kind: 'dropAnswer' } }]],
  ])('resumes a guest that dead processes of ours left paused, %s', (_, misbehave) =>
    withPaused(
      async ({ fake, lease, recover }) => {
        await lease();
        const [found, ...others] = await recover();
        expect([found, others]).toMatchObject([{ found: 'over' }, []]);
        const isOurs = misbehave.length === 0;
        if (isOurs) expect(found).toMatchObject({ end: { endedBy: 'recover' }, resumedByUs: true });
        expect(fake.isPaused()).toBe(false);
      },
      { misbehave },
    ),
  );

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

  test('says loudly that a guest which answers nothing may be paused', () =>
    withPaused(async ({ fake, lease, recover }) => {
      await lease();
      process.kill(fake.pid, 'SIGSTOP');
      expect(await recover(undefined, 200)).toMatchObject([{ found: 'mayBePaused', guest: 'debian' }]);
      process.kill(fake.pid, 'SIGCONT');
      // Its answer is still wanted: the next one asks again.
      await waitFor('the guest to run', () => !fake.isPaused());
      expect(await recover()).toMatchObject([{ found: 'over' }]);
    }));
});

describe('no go is sent', () => {
  const gone = { found: 'over', end: { endedBy: 'guestGone' }, resumedByUs: false };
  const rewrite = (change: (text: string) => string) => {
    const file = leaseFile(dir, 'debian');
    writeFileSync(file, change(readFileSync(file, 'utf8')));
  };

  test.each<[string, (stage: Stage) => Promise<void>, object]>([
    [
      'for a lease of another boot, though all of its pids live',
      async ({ fake, lease }) => {
        const main = { pid: fake.pid, startTicks: readProcessStat(fake.pid)?.startTicks ?? 0 };
        await lease({ orchestrator: main, guardian: main });
        rewrite((text) => text.replace(/"bootId":"[^"]+"/, '"bootId":"0-0"'));
      },
      gone,
    ],
    [
      "to a process that has the guest's pid now",
      ({ fake, lease }) => lease({ main: { pid: fake.pid, startTicks: 1 } }),
      gone,
    ],
    [
      'while the job that paused it is at work',
      ({ lease }) => lease({ orchestrator: ownIdentity(), guardian: ownIdentity() }),
      { found: 'inProgress' },
    ],
    [
      'for a lease that can`t be read: what it says is unknown, and that is said',
      async ({ lease }) => {
        await lease();
        rewrite(() => '{"format":"umlsnap-le');
      },
      { found: 'mayBePaused', guest: 'debian' },
    ],
  ])('%s', (_, leave, expected) =>
    withPaused(async (stage) => {
      await leave(stage);
      expect(await stage.recover()).toMatchObject([expected]);
      expect(stage.gos()).toBe(0);
      expect(stage.fake.isPaused()).toBe(true);
    }),
  );

  test('to a guest that is gone, and another at its path is not mistaken for it', async () => {
    const guest = { dir: join(dir, 'h') };
    const fake = await startFakeGuest(guest);
    await withPaused(
      async ({ lease, recover }) => {
        await lease();
        await fake.stop();
        await withFakeGuest(guest, async (successor) => {
          expect(await recover()).toMatchObject([gone]);
          expect(successor.received().filter(({ command }) => command === 'go')).toEqual([]);
        });
      },
      { fake },
    );
  });
});
