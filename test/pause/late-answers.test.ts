import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { MconsoleClient } from '../../src/mconsole/mconsole-client.js';
import { GuestResumer } from '../../src/pause/guest-resumer.js';
import { hostClockMs } from '../../src/pause/pause-page.js';
import { type FakeGuest, withFakeGuest } from '../fixtures/fake-guest.js';
import { fillQueue, withOwnGuest } from '../mconsole/with-client.js';
import { type MconsoleProxy, startMconsoleProxy, withMconsoleProxy } from '../support/mconsole-proxy.js';
import { runTool } from '../support/run-tool.js';
import { withTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';
import { expectSettled, identityOf, sayTo, withGuardedFake, wordsTo } from './paused-fake.js';

/**
 * `stop` waits in a queue in the guest and `go` does not, so a `go` may be answered `Not stopped` and the guest pause after it, for
 * ever (uml-facts, fact 4). The proxy has each message come exactly when it does most harm.
 */

/** Whoever takes over from a process whose `stop` is on its way, and has heard of its answer when that has come. */
const withStopHeld = (
  use: (
    resume: (mayProve: boolean) => Promise<unknown>,
    proxy: MconsoleProxy,
    fake: FakeGuest,
  ) => Promise<void>,
): Promise<void> =>
  withTempDir((dir) =>
    withFakeGuest({ dir: join(dir, 'g') }, (fake) =>
      withMconsoleProxy({ listenPath: join(dir, 'p'), guestSocketPath: fake.socketPath }, async (proxy) => {
        await proxy.hold('stop');
        const client = await MconsoleClient.open(proxy.socketPath);
        let stoppedAtMs: number | null = null;
        client.ask('stop').answered.then(
          () => {
            stoppedAtMs = hostClockMs();
          },
          () => {},
        );
        await proxy.untilHeld('stop');
        const resumer = await GuestResumer.open({ socketPath: proxy.socketPath, main: identityOf(fake) });
        const resume = (mayProve: boolean) =>
          resumer.resume({ stoppedAtMs: () => stoppedAtMs, mayProve: () => mayProve });
        await use(resume, proxy, fake).finally(() => {
          resumer.close();
          client.close();
        });
      }),
    ),
  );

test('a go that was sent before the answer to stop ends no pause, though it is answered after that', () =>
  withStopHeld(async (resume, proxy, fake) => {
    await proxy.hold('go', 'answer');
    const resuming = resume(false);
    await proxy.untilHeld('go', 'answer');
    // Whatever is sent from now on is lost, until the answers of before are out.
    await proxy.drop('go', 10_000, 'request');
    await proxy.release('stop');
    await proxy.untilPassed('stop', 'answer');
    expect(fake.isPaused()).toBe(true);
    await proxy.release('go');
    expect(await resuming).toMatchObject({ over: 'resumed' });
    expect(fake.isPaused()).toBe(false);
  }));

test('a stop that is still on its way after one look for it does not leave the guest stopped', () =>
  withStopHeld(async (resume, proxy, fake) => {
    // By then a first look has found the guest running: its `proc` was answered, and its go was not needed.
    await proxy.hold('proc uptime', 'request', 1);
    const resuming = resume(true);
    const lookedAgain = proxy.untilHeld('proc uptime').then(() => 'looked again');
    expect(await Promise.race([lookedAgain, resuming])).toBe('looked again');
    await proxy.release('stop');
    await proxy.untilPassed('stop', 'answer');
    await proxy.release('proc uptime');
    expect(await resuming).toMatchObject({ over: 'resumed' });
    expect(fake.isPaused()).toBe(false);
  }));

test('a stop that finds no room in the guest`s queue is never sent, and takes no effect when there is room again', () =>
  withGuardedFake({}, async (guarded) => {
    const { fake } = guarded;
    const other = await MconsoleClient.open(fake.socketPath);
    try {
      const getReady = async () => {
        process.kill(fake.pid, 'SIGSTOP');
        fillQueue(other);
      };
      expect(await guarded.pause(200, async () => {}, { getReady })).toMatchObject({
        error: { code: 'StopUnanswered', facts: { guestState: 'running' } },
      });
      process.kill(fake.pid, 'SIGCONT');
      await sayTo(fake, 'help');
      expect(new Set(wordsTo({ fake }))).toEqual(new Set(['version', 'help']));
      await expectSettled(guarded);
    } finally {
      other.close();
    }
  }));

test('a go that is given up for a newer one does not bring forth yet another at once', () => {
  const lost = { on: 'go', times: 14, fault: { kind: 'dropAnswer' } } as const;
  return withOwnGuest({ misbehave: [lost] }, async (_, fake) => {
    const resumer = await GuestResumer.open({ socketPath: fake.socketPath, main: identityOf(fake) });
    try {
      await sayTo(fake, 'stop');
      const [startedMs, stoppedAtMs] = [performance.now(), hostClockMs()];
      const stop = { stoppedAtMs: () => stoppedAtMs, mayProve: () => false };
      expect(await resumer.resume(stop)).toMatchObject({ over: 'others' });
      // Six that come ever later, then a quarter of a second apart; from the ninth on each gives up one.
      expect(performance.now() - startedMs).toBeGreaterThan(2000);
    } finally {
      resumer.close();
    }
  });
});

test('a guardian that is given no further descriptor resumes a guest whose stop it never saw answered, by a relay that died and came back', () =>
  withTempDir((dir) =>
    withFakeGuest({ dir: join(dir, 'g') }, async (fake) => {
      const paths = { listenPath: join(dir, 'p'), guestSocketPath: fake.socketPath };
      const relay = await startMconsoleProxy(paths);
      await withGuardedFake(
        { proveStopAfterMs: 300, fake, socketPath: relay.socketPath },
        async (guarded) => {
          await relay.hold('stop', 'answer');
          const pausing = guarded.pause(1000, async () => {});
          await relay.untilHeld('stop', 'answer');
          const { pid } = guarded.guardian.identity;
          // Far above its own there may be one that it got from the shell of the tests.
          const own = readdirSync(`/proc/${pid}/fd`)
            .map(Number)
            .filter((fd) => fd < 100);
          const limit = Math.max(...own) + 1;
          await runTool('prlimit', [`--pid=${pid}`, `--nofile=${limit}:${limit}`]);
          await relay.kill();
          // By then it has asked in vain.
          await sleep(2000);
          expect(fake.isPaused()).toBe(true);
          await withMconsoleProxy(paths, async () => {
            await waitFor('the guest to run', () => !fake.isPaused());
            expect(await pausing).toMatchObject({ error: { code: 'StopUnanswered' } });
          });
        },
      );
    }),
  ));

test('the budget runs from before the request: the time that its answer took is no part of the next', () => {
  const late = { on: 'stop', fault: { kind: 'delayAnswer', delayMs: 1000 } } as const;
  return withGuardedFake({ misbehave: [late] }, async (guarded) => {
    const outcome = await guarded.pause(2000, async ({ signal }) => {
      await waitFor('the work to be told', () => signal.aborted);
    });
    expect(outcome).toMatchObject({ error: { code: 'PauseBudgetExceeded' } });
    // From the answer on: all of the budget, and more, if it had begun there.
    expect(guarded.ledger.ended[0]?.pausedMs).toBeLessThan(2000);
    await expectSettled(guarded);
  });
});
