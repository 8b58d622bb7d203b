import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect } from 'vitest';
import type { PauseEnd, PauseIntent } from '../../src/history/records.js';
import { MconsoleClient } from '../../src/mconsole/mconsole-client.js';
import { type GuardedGuest, Guardian } from '../../src/pause/guardian.js';
import { leaseFile } from '../../src/pause/lease.js';
import { type Paused, withPausedGuest } from '../../src/pause/with-paused-guest.js';
import { type ProcessIdentity, readProcessStat } from '../../src/process-identity.js';
import { type FakeGuest, monotonicMs, startFakeGuest } from '../fixtures/fake-guest.js';
import type { Misbehaviour } from '../fixtures/misbehaviour.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';

/** The port behind which the history stands; this one only remembers, and when. */
class Ledger {
  readonly intended: PauseIntent[] = [];
  readonly ended: (PauseEnd & { pause: string; atMs: number })[] = [];

  async intendPause(intent: PauseIntent): Promise<void> {
    this.intended.push(intent);
  }

  async endPause(pause: string, end: PauseEnd): Promise<void> {
    this.ended.push({ pause, ...end, atMs: monotonicMs() });
  }
}

interface Parts {
  fake: FakeGuest;
  guardian: Guardian;
  guarded: GuardedGuest;
  stateDirectory: string;
}

/** A fake guest under a real guardian: what the two went through, and what was written down. */
export interface GuardedFake extends Parts {
  ledger: Ledger;
  /** Pauses it; the outcome is the value of `use`, or the error. */
  pause<T>(
    budgetMs: number,
    use: (paused: Paused) => Promise<T>,
    changes?: { signal?: AbortSignal; getReady?: () => Promise<void> },
  ): Promise<{ value: T; pausedMs: number } | { error: { code: string; facts: unknown } }>;
}

interface GuardedOptions {
  misbehave?: Misbehaviour[];
  proveStopAfterMs?: number;
}

type Use = (guarded: GuardedFake) => Promise<void>;

/** Of a test's own: for one that ends the guest or the guardian. */
export async function withGuardedFake(options: GuardedOptions, use: Use): Promise<void> {
  const { parts, end } = await start(options);
  await use(stage(parts)).finally(end);
}

/** One for all tests of a file: what is given runs `use` with it, renewed, and with a ledger of its own. */
export function setGuardedFake(
  options: GuardedOptions = {},
): (misbehave: Misbehaviour[], use: Use) => Promise<void> {
  let started: Awaited<ReturnType<typeof start>>;
  beforeAll(async () => {
    started = await start(options);
  });
  afterAll(() => started?.end());
  return async (misbehave, use) => {
    await started.parts.fake.renew(misbehave);
    await use(stage(started.parts));
  };
}

async function start({ proveStopAfterMs, ...options }: GuardedOptions) {
  const dir = await makeTempDir();
  const fake = await startFakeGuest({ dir: join(dir, 'g'), ...options });
  const { socketPath } = fake;
  const guarded: GuardedGuest = {
    ...{ guest: 'debian', socketPath, main: identityOf(fake), leaseFile: leaseFile(dir, 'debian') },
    proveStopAfterMs,
  };
  const guardian = await Guardian.start(guarded);
  const end = async () => {
    guardian.close();
    await fake.stop();
    await removeTempDir(dir);
  };
  return { parts: { fake, guarded, guardian, stateDirectory: dir }, end };
}

export function identityOf({ pid }: { pid: number }): ProcessIdentity {
  return { pid, startTicks: readProcessStat(pid)?.startTicks ?? 0 };
}

function stage(parts: Parts): GuardedFake {
  const ledger = new Ledger();
  const { guarded, guardian } = parts;
  return {
    ...{ ...parts, ledger },
    pause: (budgetMs, work, changes = {}) =>
      withPausedGuest(
        {
          ...{ pause: `job.${ledger.intended.length + 1}`, job: 'job', guarded, guardian, budgetMs, ledger },
          ...{ signal: new AbortController().signal, phase: () => 'capture' },
          ...{ getReady: async () => {}, readyLimitMs: 5000, ...changes },
        },
        work,
      ).catch((error) => ({ error })),
  };
}

/** Says something to it as anybody may: an admin, another tool. */
export async function sayTo({ socketPath }: FakeGuest, command: string): Promise<string> {
  const client = await MconsoleClient.open(socketPath);
  return await client.request(command, { timeoutMs: 30_000 }).finally(() => client.close());
}

/** What must hold after every pause, however it went: the guest runs, all is written down, no lease is left. */
export async function expectSettled({ fake, ledger, guarded }: GuardedFake): Promise<void> {
  await waitFor('the guest to run', () => !fake.isPaused());
  expect(ledger.ended.map(({ pause }) => pause)).toEqual(ledger.intended.map(({ pause }) => pause));
  expect(existsSync(guarded.leaseFile)).toBe(false);
}

/** The names of the requests that the guest has got. */
export const wordsTo = ({ fake }: { fake: FakeGuest }): string[] =>
  fake.received().map(({ command }) => command);
