import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, describe, expect, test } from 'vitest';
import { monotonicMs } from '../fixtures/fake-guest.js';
import type { RunningCli } from '../support/cli.js';
import { startHeldInSync } from '../support/held-job.js';
import { roundsOr } from '../support/rounds.js';
import { expectRuns, setScene } from '../support/scene.js';
import { waitFor } from '../support/wait-for.js';

/** `kill -9` of the orchestrator at any instant MUST leave no guest paused: in every phase, and at moments of no choice. */

const scene = setScene({
  ...{ on: 'xfs', proxied: true, settings: { capture: 'copy', require: 'crash' } },
  guest: { fillMiB: 24, writer: 'lines' },
});
const eventsSince = async (atMs: number) => (await scene.proxy.events()).filter((event) => event.atMs > atMs);

/** When the first of these was answered as done. */
async function doneSince(command: 'stop' | 'go', atMs: number): Promise<number | undefined> {
  const events = await eventsSince(atMs);
  return events.find((event) => event.what === 'answer' && event.command === command && event.err === 0)
    ?.atMs;
}

/**
 * What a kill may leave, and no more: a guest that its guardian has resumed, long before the budget of 60 s, and nothing that looks
 * like a snapshot.
 * @returns whether the guest was paused when it came
 */
async function killAndLookAfter(
  cli: RunningCli,
  startedAtMs: number,
  letGo = async () => {},
): Promise<boolean> {
  const killedAtMs = monotonicMs();
  cli.kill('SIGKILL');
  await cli.exited;
  await letGo();
  await waitFor('the guardian to end', () => scene.processes().length === 0);
  await expectRuns(scene.guest);
  const asked = (await eventsSince(startedAtMs)).find(
    ({ what, command }) => what === 'request' && command === 'stop',
  );
  if (!asked) return false;
  // From the request on: a `go` may be answered before the answer to the stop is let go.
  const resumedAtMs = (await doneSince('go', asked.atMs)) ?? Number.POSITIVE_INFINITY;
  expect(resumedAtMs - killedAtMs).toBeLessThan(30_000);
  const stoppedAtMs = (await doneSince('stop', startedAtMs)) ?? Number.POSITIVE_INFINITY;
  return stoppedAtMs < killedAtMs && killedAtMs < resumedAtMs;
}

async function expectRecovered(): Promise<void> {
  expect(await scene.run('recover')).toMatchObject({ exitCode: 0, stderr: '' });
  await scene.expectWell();
}

/** A moment that a snapshot is brought to, and held at until the command is released. */
interface Moment {
  start: () => Promise<RunningCli>;
  held?: string;
}

const { startSnapshot } = scene;
const said = (phase: string): Moment => ({
  start: async () => {
    const cli = startSnapshot();
    await cli.waitForOutput(new RegExp(`"phase":"${phase}"`));
    return cli;
  },
});
const held = (command: string, what: 'request' | 'answer'): Moment => ({
  held: command,
  start: async () => {
    await scene.proxy.hold(command, what);
    const cli = startSnapshot();
    await scene.proxy.untilHeld(command, what);
    return cli;
  },
});

const moments: Record<string, Moment> = {
  preflight: said('preflight'),
  quiesce: said('quiesce'),
  'stop, not yet delivered': held('stop', 'request'),
  'stop, its answer on the way': held('stop', 'answer'),
  sync: { held: 'sysrq s', start: () => startHeldInSync(scene.proxy, () => startSnapshot()) },
  'go, not yet delivered': held('go', 'request'),
  'go, its answer on the way': held('go', 'answer'),
  seal: said('seal'),
  retain: said('retain'),
};

describe('kill -9 of a snapshot', () => {
  /** How long one that nobody kills takes to its quiesce, and from there to its seal. */
  let [toQuiesceMs, toSealMs] = [0, 0];
  beforeAll(async () => {
    const startedAtMs = monotonicMs();
    const cli = startSnapshot();
    await cli.waitForOutput(/"phase":"quiesce"/);
    toQuiesceMs = monotonicMs() - startedAtMs;
    await cli.waitForOutput(/"phase":"seal"/);
    toSealMs = monotonicMs() - startedAtMs - toQuiesceMs;
    expect([0, 3]).toContain((await cli.exited).exitCode);
  });

  test.each(Object.entries(moments))(
    'in %s leaves no guest paused, and recover clears the rest',
    async (_, { start, held }) => {
      const startedAtMs = monotonicMs();
      const cli = await start();
      await killAndLookAfter(cli, startedAtMs, () => scene.proxy.release(`${held}`));
      await expectRecovered();
    },
  );

  test('at moments of no choice leaves no guest paused, and nothing that looks like a snapshot', async () => {
    // Before the quiesce, from there to the end of the pause and a little beyond, and in a pause that lasts until after the kill.
    const ranges = [
      { spreadMs: toQuiesceMs, from: async () => {} },
      { spreadMs: 1.2 * toSealMs, from: (cli: RunningCli) => cli.waitForOutput(/"phase":"quiesce"/) },
      { spreadMs: toSealMs, from: () => waitFor('its stop', stoppedNow, { everyMs: 5 }), lasts: true },
    ];
    let startedAtMs = monotonicMs();
    const stoppedNow = () => doneSince('stop', startedAtMs);
    let metPauses = 0;
    for (let round = 0; round < rounds; round++) {
      for (const { spreadMs, from, lasts } of ranges) {
        startedAtMs = monotonicMs();
        if (lasts) await scene.proxy.hold('go');
        const cli = startSnapshot();
        await from(cli);
        await sleep(random() * spreadMs);
        if (await killAndLookAfter(cli, startedAtMs, () => scene.proxy.release('go'))) metPauses += 1;
        for (const { snapshot, ...stored } of await scene.listed())
          expect([snapshot, 'damaged' in stored]).toEqual([snapshot, false]);
      }
    }
    console.log(`seed ${seed}: of ${rounds * ranges.length} kills ${metPauses} came in a pause`);
    expect(metPauses).toBeGreaterThanOrEqual(rounds);
    await expectRecovered();
  });
});

/** Of three kills each. */
const rounds = roundsOr(3);
const seed = Number(process.env.UMLSNAP_TEST_SEED ?? Math.floor(Math.random() * 2 ** 31));
let state = seed;

/** From 0 to 1, the same for the same seed (Lehmer). */
function random(): number {
  state = (state * 48_271) % (2 ** 31 - 1);
  return state / (2 ** 31 - 1);
}
