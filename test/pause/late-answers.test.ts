import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { withGuardian } from '../../src/pause/guardian.js';
import { StopAndGo } from '../../src/pause/stop-and-go.js';
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

const withStopHeld = (
  use: (stopAndGo: StopAndGo, proxy: MconsoleProxy, fake: FakeGuest) => Promise<void>,
): Promise<void> =>
  withTempDir((dir) =>
    withFakeGuest({ dir: join(dir, 'g') }, (fake) =>
      withMconsoleProxy({ listenPath: join(dir, 'p'), guestSocketPath: fake.socketPath }, async (proxy) => {
        const stopAndGo = await StopAndGo.open({ socketPath: proxy.socketPath, main: identityOf(fake) });
        await proxy.hold('stop');
        expect(await stopAndGo.stop(20)).toBe('unanswered');
        await use(stopAndGo, proxy, fake).finally(() => stopAndGo.close());
      }),
    ),
  );

const never = 10 ** 9;

test('a go that was sent before the answer to stop ends no pause, though it is answered after that', () =>
  withStopHeld(async (stopAndGo, proxy, fake) => {
    await proxy.hold('go', 'answer');
    const resuming = stopAndGo.resume(never);
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
  withStopHeld(async (stopAndGo, proxy, fake) => {
    // By then a first look has found the guest running: its `proc` was answered, and its go was not needed.
    await proxy.hold('proc uptime', 'request', 1);
    const resuming = stopAndGo.resume(0);
    const lookedAgain = proxy.untilHeld('proc uptime').then(() => 'looked again');
    expect(await Promise.race([lookedAgain, resuming])).toBe('looked again');
    await proxy.release('stop');
    await proxy.untilPassed('stop', 'answer');
    await proxy.release('proc uptime');
    expect(await resuming).toMatchObject({ over: 'resumed' });
    expect(fake.isPaused()).toBe(false);
  }));

test('a stop that found no room in the guest`s queue is taken back, and takes no effect when there is room again', () =>
  withOwnGuest({}, async (other, fake) => {
    const stopAndGo = await StopAndGo.open({ socketPath: fake.socketPath, main: identityOf(fake) });
    try {
      process.kill(fake.pid, 'SIGSTOP');
      fillQueue(other);
      expect(await stopAndGo.stop(20)).toBe('unanswered');
      expect(await stopAndGo.resume(never)).toEqual({ over: 'notOurs', pausedMs: null });
      process.kill(fake.pid, 'SIGCONT');
      await sayTo(fake, 'help');
      expect(new Set(wordsTo({ fake }))).toEqual(new Set(['version', 'help']));
    } finally {
      stopAndGo.close();
    }
  }));

test('a go that is given up for a newer one does not bring forth yet another at once', () => {
  const lost = { on: 'go', times: 14, fault: { kind: 'dropAnswer' } } as const;
  return withOwnGuest({ misbehave: [lost] }, async (_, fake) => {
    const stopAndGo = await StopAndGo.open({ socketPath: fake.socketPath, main: identityOf(fake) });
    try {
      expect(await stopAndGo.stop(10_000)).toBe('stopped');
      const startedMs = performance.now();
      expect(await stopAndGo.resume(never)).toMatchObject({ over: 'others' });
      // Six that come ever later, then a quarter of a second apart; from the ninth on each gives up one.
      expect(performance.now() - startedMs).toBeGreaterThan(2000);
    } finally {
      stopAndGo.close();
    }
  });
});

test('a guardian that is given no further descriptor resumes a guest whose stop it never saw answered, by a relay that died and came back', () =>
  withTempDir((dir) =>
    withFakeGuest({ dir: join(dir, 'g') }, async (fake) => {
      const paths = { listenPath: join(dir, 'p'), guestSocketPath: fake.socketPath };
      const relay = await startMconsoleProxy(paths);
      const guarded = {
        guest: 'debian',
        socketPath: relay.socketPath,
        main: identityOf(fake),
        leaseFile: join(dir, 'l'),
      };
      await withGuardian({ ...guarded, proveStopAfterMs: 300 }, async (guardian) => {
        await relay.hold('stop', 'answer');
        const pausing = guardian.pause('job.1', 1000).catch((error) => error);
        await relay.untilHeld('stop', 'answer');
        const { pid } = guardian.identity;
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
          expect(await pausing).toMatchObject({ code: 'StopUnanswered' });
        });
      });
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
