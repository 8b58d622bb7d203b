import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect } from 'vitest';
import type { PauseEnd, PauseIntent } from '../../src/history/records.js';
import { MconsoleClient } from '../../src/mconsole/mconsole-client.js';
import { type GuardedGuest, Guardian, withGuardian } from '../../src/pause/guardian.js';
import { leaseFile } from '../../src/pause/lease.js';
import { type Paused, withPausedGuest } from '../../src/pause/with-paused-guest.js';
import { readProcessStat } from '../../src/process-identity.js';
import {
  type FakeGuest,
  type Misbehaviour,
  monotonicMs,
  startFakeGuest,
  withFakeGuest,
} from '../fixtures/fake-guest.js';
import { makeTempDir, removeTempDir, withTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';

/** The port behind which the history stands; this one only remembers, and when, and can be told to fail. */
export class Ledger {
  readonly intended: PauseIntent[] = [];
  readonly ended: (PauseEnd & { pause: string; atMs: number })[] = [];
  failNext: Error | undefined;

  async intendPause(intent: PauseIntent): Promise<void> {
    this.#mayFail();
    this.intended.push(intent);
  }

  async endPause(pause: string, end: PauseEnd): Promise<void> {
    this.#mayFail();
    this.ended.push({ pause, ...end, atMs: monotonicMs() });
  }

  #mayFail(): void {
    const failure = this.failNext;
    this.failNext = undefined;
    if (failure) throw failure;
  }
}

/** A fake guest under a real guardian: what the two went through, and what was written down. */
export interface GuardedFake {
  fake: FakeGuest;
  guardian: Guardian;
  guarded: GuardedGuest;
  stateDirectory: string;
  ledger: Ledger;
  /** Says something to it as anybody may: an admin, another tool. */
  say(command: string): Promise<string>;
  /** Pauses it; the outcome is the value of `use`, or the error. */
  pause<T>(budgetMs: number, use: (paused: Paused) => Promise<T>, changes?: Changes): Promise<Outcome<T>>;
}

export interface Changes {
  signal?: AbortSignal;
  quiesce?: () => Promise<void>;
}

export type Outcome<T> = { value: T; pausedMs: number } | { error: { code: string; facts: unknown } };

interface GuardedOptions {
  misbehave?: Misbehaviour[];
  proveStopAfterMs?: number;
}

/** Of a test's own: for one that ends the guest or the guardian. */
export function withGuardedFake(
  options: GuardedOptions,
  use: (guarded: GuardedFake) => Promise<void>,
): Promise<void> {
  return withTempDir((dir) =>
    withFakeGuest({ dir: join(dir, 'g'), ...options }, async (fake) => {
      const guarded = guardedOf(fake, dir, options.proveStopAfterMs);
      await withGuardian(guarded, (guardian) => use(stage({ fake, guarded, guardian, stateDirectory: dir })));
    }),
  );
}

/** One for all tests of a file: what is given runs `use` with it, renewed, and with a ledger of its own. */
export function setGuardedFake(
  given: Omit<GuardedOptions, 'misbehave'> = {},
): (misbehave: Misbehaviour[], use: (guarded: GuardedFake) => Promise<void>) => Promise<void> {
  let dir = '';
  let fake: FakeGuest | undefined;
  let parts: Parameters<typeof stage>[0] | undefined;
  beforeAll(async () => {
    dir = await makeTempDir();
    fake = await startFakeGuest({ dir: join(dir, 'g') });
    const guarded = guardedOf(fake, dir, given.proveStopAfterMs);
    parts = { fake, guarded, guardian: await Guardian.start(guarded), stateDirectory: dir };
  });
  afterAll(async () => {
    parts?.guardian.close();
    await fake?.stop();
    await removeTempDir(dir);
  });
  return async (misbehave, use) => {
    if (parts === undefined) throw new Error('the guest was not started');
    await parts.fake.renew(misbehave);
    await use(stage(parts));
  };
}

function guardedOf(fake: FakeGuest, dir: string, proveStopAfterMs: number | undefined): GuardedGuest {
  const main = { pid: fake.pid, startTicks: readProcessStat(fake.pid)?.startTicks ?? 0 };
  const { socketPath } = fake;
  return { guest: 'debian', socketPath, main, leaseFile: leaseFile(dir, 'debian'), proveStopAfterMs };
}

function stage(parts: Pick<GuardedFake, 'fake' | 'guarded' | 'guardian' | 'stateDirectory'>): GuardedFake {
  const ledger = new Ledger();
  const { fake, guarded, guardian } = parts;
  return {
    ...{ ...parts, ledger, say: (command) => sayTo(fake, command) },
    pause: (budgetMs, work, changes = {}) =>
      withPausedGuest(
        {
          ...{ pause: `job.${ledger.intended.length + 1}`, job: 'job', guarded, guardian, budgetMs, ledger },
          ...{ signal: new AbortController().signal, phase: () => 'capture' },
          ...{ quiesce: async () => {}, quiesceLimitMs: 5000, ...changes },
        },
        work,
      ).catch((error) => ({ error })),
  };
}

async function sayTo(fake: FakeGuest, command: string): Promise<string> {
  const client = await MconsoleClient.open(fake.socketPath);
  try {
    return await client.request(command, { timeoutMs: 10_000 });
  } finally {
    client.close();
  }
}

/** What must hold after every pause, however it went: the guest runs, all is written down, no lease is left. */
export async function expectSettled({ fake, ledger, guarded }: GuardedFake): Promise<void> {
  await waitFor('the guest to run', () => !fake.isPaused());
  expect(ledger.ended.map(({ pause }) => pause)).toEqual(ledger.intended.map(({ pause }) => pause));
  expect(existsSync(guarded.leaseFile)).toBe(false);
}

/** The names of the requests that the guest has got. */
export const wordsTo = ({ fake }: GuardedFake): string[] => fake.received().map(({ command }) => command);
