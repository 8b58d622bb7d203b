import { fork } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect } from 'vitest';
import type { PauseEnd, PauseIntent } from '../../src/history/records.js';
import { MconsoleClient } from '../../src/mconsole/mconsole-client.js';
import { fromSentError } from '../../src/errors.js';
import type { PauseBroken, PauseOrder, PauseResult } from '../../src/pause/capture-messages.js';
import { GuardedPause, type Pauser } from '../../src/pause/guarded-pause.js';
import { type GuardedGuest, Guardian } from '../../src/pause/guardian.js';
import { leaseFile } from '../../src/pause/lease.js';
import { PausePage } from '../../src/pause/pause-page.js';
import { isAlive, type ProcessIdentity, readProcessStat } from '../../src/process-identity.js';
import { type FakeGuest, monotonicMs, startFakeGuest } from '../fixtures/fake-guest.js';
import type { Misbehaviour } from '../fixtures/misbehaviour.js';
import { builtScript } from '../support/script-child.js';
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

/** What may be known inside a pause. */
export interface Paused {
  /** Aborted when the guardian ends it by itself or has died, and when the job is to be given up. */
  signal: AbortSignal;
  pauser: ProcessIdentity;
}

interface Parts {
  fake: FakeGuest;
  pauser: HeldPauser;
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
    changes?: { signal?: AbortSignal; getReady?: () => Promise<void>; huntMs?: number },
  ): Promise<{ value: T; pausedMs: number } | { error: { code: string; facts: unknown } }>;
}

interface GuardedOptions {
  misbehave?: Misbehaviour[];
  /** Of the caller's, behind this socket. */
  fake?: FakeGuest;
  socketPath?: string;
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

async function start({ proveStopAfterMs, fake: given, socketPath: relay, ...options }: GuardedOptions) {
  const dir = await makeTempDir();
  const fake = given ?? (await startFakeGuest({ dir: join(dir, 'g'), ...options }));
  const socketPath = relay ?? fake.socketPath;
  const guarded: GuardedGuest = {
    ...{ guest: 'debian', socketPath, main: identityOf(fake), leaseFile: leaseFile(dir, 'debian') },
    proveStopAfterMs,
  };
  const pauser = new HeldPauser(join(dir, 'pause'));
  const guardian = await Guardian.start(guarded, pauser.page);
  const end = async () => {
    guardian.close();
    await pauser.close();
    if (!given) await fake.stop();
    await removeTempDir(dir);
  };
  return { parts: { fake, guarded, guardian, pauser, stateDirectory: dir }, end };
}

/** A process that pauses as the capture process does, and is started anew when it was killed; what is done in the pause is the test's. */
class HeldPauser implements Pauser {
  readonly page = PausePage.make();
  work: (paused: Paused) => Promise<unknown> = async () => undefined;
  value: unknown;
  readonly #held: string;
  #child: ReturnType<typeof fork>;

  constructor(held: string) {
    this.#held = held;
    this.#child = this.#start();
  }

  get identity(): ProcessIdentity {
    return identityOf({ pid: this.#child.pid ?? -1 });
  }

  /** For the next pause. */
  renew(): void {
    for (const end of ['held', 'goOn']) rmSync(`${this.#held}.${end}`, { force: true });
    if (!this.#child.connected || !isAlive(this.identity)) this.#child = this.#start();
  }

  async pause(order: Omit<PauseOrder, 'type'>, signal: AbortSignal): Promise<PauseResult | PauseBroken> {
    const child = this.#child;
    const answered = once(child, 'message').then(([answer]) => answer);
    const ended = once(child, 'exit').then(() => Promise.reject(new Error('the pauser has ended')));
    const aborted = new Promise<never>((_, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason), { once: true });
      if (signal.aborted) reject(signal.reason);
    });
    const over = Promise.race([answered, ended, aborted]);
    over.catch(() => {});
    child.send({ type: 'pause', ...order });
    let isOver = false;
    over
      .finally(() => {
        isOver = true;
      })
      .catch(() => {});
    await waitFor('the pause', () => isOver || existsSync(`${this.#held}.held`), { everyMs: 1 });
    if (existsSync(`${this.#held}.held`)) {
      try {
        this.value = await this.work({ signal, pauser: this.identity });
        writeFileSync(`${this.#held}.goOn`, '');
      } catch (error) {
        writeFileSync(`${this.#held}.goOn`, (error as Error).message);
      }
    }
    return await over;
  }

  async close(): Promise<void> {
    const ended = once(this.#child, 'exit');
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      this.#child.kill('SIGKILL');
      await ended;
    }
    this.page.close();
  }

  #start() {
    const script = builtScript(new URL('./pauser-child.ts', import.meta.url));
    const child = fork(script, [this.#held], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc', this.page.fd],
      serialization: 'advanced',
    });
    child.setMaxListeners(100);
    return child;
  }
}

export function identityOf({ pid }: { pid: number }): ProcessIdentity {
  return { pid, startTicks: readProcessStat(pid)?.startTicks ?? 0 };
}

function stage(parts: Parts): GuardedFake {
  const ledger = new Ledger();
  const { guarded, guardian, pauser } = parts;
  const run = async <T>(
    budgetMs: number,
    use: (paused: Paused) => Promise<T>,
    {
      getReady = async () => {},
      signal = new AbortController().signal,
      huntMs = null,
    }: { signal?: AbortSignal; getReady?: () => Promise<void>; huntMs?: number | null } = {},
  ) => {
    pauser.renew();
    pauser.work = use;
    const pause = await GuardedPause.open({
      ...{ pause: `job.${ledger.intended.length + 1}`, job: 'job', guarded, guardian, pauser },
      ...{ budgetMs, ledger, signal, readyLimitMs: 5000 },
    });
    try {
      await getReady();
      await pause.run({
        ...{ socketPath: guarded.socketPath, main: guarded.main, ioTasks: [], roundsLimitMs: null },
        ...{ huntMs, isLastTry: true, isContentWithCrash: true },
        terms: {
          ...{ guest: 'debian', devices: ['ubd0'], budgetMs, isSmp: false, isFrozen: false },
          ...{
            goesByFreeze: false,
            synced: { dirtyKib: 0, inFlight: 0, completedWrites: 0, diskWrites: [] },
          },
        },
      });
    } catch (error) {
      pause.fail(error);
    }
    const result = await pause.settle();
    if (result?.error) throw fromSentError(result.error);
    return { value: pauser.value as T, pausedMs: result?.pausedMs ?? Number.NaN };
  };
  return {
    ...{ ...parts, ledger },
    pause: (budgetMs, work, changes = {}) => run(budgetMs, work, changes).catch((error) => ({ error })),
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
