import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { monotonicMs } from '../fixtures/fake-guest.js';
import type { RunningCli } from '../support/cli.js';
import { type MconsoleProxy, startMconsoleProxy } from '../support/mconsole-proxy.js';
import type { RealGuest } from '../support/real-guest.js';
import { expectRunning, settingsOf, TestHouse } from '../support/test-house.js';
import { waitFor } from '../support/wait-for.js';

/** `kill -9` of the orchestrator at any instant MUST leave no guest paused: in every phase, and at moments of no choice. */

let house: TestHouse;
let guest: RealGuest;
let proxy: MconsoleProxy;

beforeAll(async () => {
  house = await TestHouse.build({ sizeMiB: 2048 });
  guest = await house.boot({ sizeMiB: 128, fillMiB: 72, writer: 'lines' });
  proxy = await startMconsoleProxy({ listenPath: join(house.dir, 'p'), guestSocketPath: guest.socketPath });
  await house.configure({
    one: settingsOf(guest, { mconsole: proxy.socketPath, capture: 'copy', require: 'crash' }),
  });
});
afterAll(async () => {
  await proxy.close();
  await house.remove();
});

const snapshot = () => house.start(['--json', 'snapshot', 'one']);

/** The promise is half a second; the rest is for a machine with other work. */
const resumeLimitMs = 2000;

async function kill(cli: RunningCli): Promise<number> {
  const killedAtMs = monotonicMs();
  cli.kill('SIGKILL');
  await cli.exited;
  return killedAtMs;
}

/** What a kill may leave, and no more: a guest that runs again at once, and nothing that looks like a snapshot. */
async function expectResumedAfter(killedAtMs: number): Promise<void> {
  await waitFor('the guardian to end', () => house.processes().length === 0);
  await expectRunning(guest);
  const events = await proxy.events();
  const stopped = events.findLastIndex(({ what, command }) => what === 'request' && command === 'stop');
  if (stopped < 0) return;
  const isGo = ({ what, command, err }: (typeof events)[number]) =>
    what === 'answer' && command === 'go' && err === 0;
  const resumed = events.slice(stopped).find(isGo);
  expect((resumed?.atMs ?? Number.POSITIVE_INFINITY) - killedAtMs).toBeLessThan(resumeLimitMs);
}

async function expectRecovered(): Promise<void> {
  expect(await house.run(['recover'])).toMatchObject({ exitCode: 0, stderr: '' });
  await house.expectAllWell();
}

/** A moment that a snapshot is brought to, and held at until it is let go. */
interface Moment {
  prepare?: () => Promise<void>;
  reached: (cli: RunningCli) => Promise<unknown>;
  letGo?: () => Promise<void>;
}

const said = (phase: string): Moment => ({
  reached: (cli) => cli.waitForOutput(new RegExp(`"phase":"${phase}"`)),
});

const moments: Record<string, Moment> = {
  preflight: said('preflight'),
  quiesce: said('quiesce'),
  'stop, not yet delivered': {
    prepare: () => proxy.hold('stop'),
    reached: () => proxy.untilHeld('stop'),
    letGo: () => proxy.release('stop'),
  },
  'stop, its answer on the way': {
    prepare: () => proxy.hold('stop', 'answer'),
    reached: () => proxy.untilHeld('stop', 'answer'),
    letGo: () => proxy.release('stop'),
  },
  sync: {
    prepare: () => proxy.hold('stop'),
    reached: async () => {
      await proxy.untilHeld('stop');
      // Only now: the syncs before the stop are over.
      await proxy.hold('sysrq s');
      await proxy.release('stop');
      await proxy.untilHeld('sysrq s');
    },
    letGo: () => proxy.release('sysrq s'),
  },
  'go, not yet delivered': {
    prepare: () => proxy.hold('go'),
    reached: () => proxy.untilHeld('go'),
    letGo: () => proxy.release('go'),
  },
  'go, its answer on the way': {
    prepare: () => proxy.hold('go', 'answer'),
    reached: () => proxy.untilHeld('go', 'answer'),
    letGo: () => proxy.release('go'),
  },
  seal: said('seal'),
  retain: said('retain'),
};

describe('kill -9 of a snapshot', () => {
  test.each(Object.entries(moments))(
    'in %s leaves no guest paused, and recover clears the rest',
    async (_, moment) => {
      await moment.prepare?.();
      const cli = snapshot();
      await moment.reached(cli);
      const killedAtMs = await kill(cli);
      await moment.letGo?.();
      await expectResumedAfter(killedAtMs);
      await expectRecovered();
    },
  );

  test('at moments of no choice leaves no guest paused, and nothing that looks like a snapshot', async () => {
    const { toQuiesceMs, fromQuiesceMs } = await measure();
    let metPauses = 0;
    for (let round = 0; round < rounds; round++) {
      const pausesBefore = (await proxy.pauses()).length;
      const cli = snapshot();
      // One in three before the quiesce; the others from there to the end of the pause and a little beyond.
      if (round % 3 === 0) await sleep(random() * toQuiesceMs);
      else {
        await cli.waitForOutput(/"phase":"quiesce"/);
        await sleep(random() * 1.2 * fromQuiesceMs);
      }
      await expectResumedAfter(await kill(cli));
      if (round % 5 === 4) for (const { state } of await house.listed()) expect(state).toBe('sound');
      if ((await proxy.pauses()).length > pausesBefore) metPauses += 1;
    }
    console.log(`seed ${seed}: of ${rounds} kills ${metPauses} came in a pause or after it`);
    await expectRecovered();
  });
});

/** How long a snapshot that nobody kills takes to its quiesce, and from there through its pause. */
async function measure(): Promise<{ toQuiesceMs: number; fromQuiesceMs: number }> {
  const startedAtMs = monotonicMs();
  const cli = snapshot();
  await cli.waitForOutput(/"phase":"quiesce"/);
  const toQuiesceMs = monotonicMs() - startedAtMs;
  await cli.waitForOutput(/"phase":"seal"/);
  const fromQuiesceMs = monotonicMs() - startedAtMs - toQuiesceMs;
  expect([0, 3]).toContain((await cli.exited).exitCode);
  return { toQuiesceMs, fromQuiesceMs };
}

const rounds = 15;
const seed = Number(process.env.UMLSNAP_TEST_SEED ?? Math.floor(Math.random() * 2 ** 31));
let state = seed;

/** From 0 to 1, the same for the same seed (Lehmer). */
function random(): number {
  state = (state * 48_271) % (2 ** 31 - 1);
  return state / (2 ** 31 - 1);
}
