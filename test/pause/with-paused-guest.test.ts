import { existsSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { readLease } from '../../src/pause/lease.js';
import { recoverPauses } from '../../src/pause/recover-pauses.js';
import { isAlive } from '../../src/process-identity.js';
import { monotonicMs } from '../fixtures/fake-guest.js';
import { waitFor } from '../support/wait-for.js';
import { expectSettled, type GuardedFake, withGuardedFake, wordsTo } from './paused-fake.js';

const slackMs = 2000;
const captured = async () => 'captured';

/** How long the guest stood still, from `fromMs` on if that is given. */
function stoodStillMs({ fake }: GuardedFake, fromMs = 0): number {
  const last = fake.pausedIntervals().at(-1);
  return (last?.toMs ?? Number.POSITIVE_INFINITY) - Math.max(last?.fromMs ?? 0, fromMs);
}

describe('a pause', () => {
  test('stands in the ledger and, durable, in the lease before the guest is asked to stop', () =>
    withGuardedFake({}, async (guarded) => {
      const { guardian, guarded: guest, ledger } = guarded;
      const quiesce = async () => {
        expect(ledger.intended).toMatchObject([{ pause: 'job.1', guest: 'debian', budgetMs: 5000 }]);
        expect(await readLease(guest.leaseFile)).toMatchObject({
          lease: { pause: 'job.1', main: guest.main, guardian: guardian.identity },
        });
        expect(wordsTo(guarded)).not.toContain('stop');
      };
      expect(await guarded.pause(5000, captured, { quiesce })).toMatchObject({ value: 'captured' });
      // A go that is not answered in 5 ms is sent again.
      expect(wordsTo(guarded).join(' ')).toMatch(/^version stop go( go)*$/);
      expect(ledger.ended).toMatchObject([{ endedBy: 'request', pausedMs: expect.any(Number) }]);
      await expectSettled(guarded);
    }));

  test('can be had again and again of the same guardian', () =>
    withGuardedFake({}, async (guarded) => {
      for (let round = 0; round < 20; round++) {
        expect(await guarded.pause(5000, captured)).toMatchObject({ value: 'captured' });
        expect(guarded.fake.isPaused()).toBe(false);
      }
      await expectSettled(guarded);
    }));

  test('that can`t be written down is not begun, and leaves nothing that looks begun', () =>
    withGuardedFake({}, async (guarded) => {
      guarded.ledger.failNext = new Error('no history');
      expect(await guarded.pause(5000, captured)).toMatchObject({ error: { message: 'no history' } });
      // A file where the leases' directory belongs: there is no room for a lease.
      const leases = dirname(guarded.guarded.leaseFile);
      writeFileSync(leases, '');
      expect(await guarded.pause(5000, captured)).toMatchObject({ error: { code: 'StateUnusable' } });
      expect(wordsTo(guarded)).toEqual(['version']);
      expect(guarded.ledger.ended).toMatchObject([{ endedBy: 'notStopped', pausedMs: null }]);
    }));

  test('that fails while it is prepared stops nobody', () =>
    withGuardedFake({}, async (guarded) => {
      const quiesce = () => Promise.reject(new Error('not quiet'));
      expect(await guarded.pause(5000, captured, { quiesce })).toMatchObject({
        error: { message: 'not quiet' },
      });
      expect(wordsTo(guarded)).toEqual(['version']);
      expect(guarded.ledger.ended).toMatchObject([{ endedBy: 'notStopped' }]);
      await expectSettled(guarded);
    }));

  test('whose work fails ends at once, with that failure', () =>
    withGuardedFake({}, async (guarded) => {
      const outcome = await guarded.pause(60_000, () => Promise.reject(new Error('no reflink')));
      expect(outcome).toMatchObject({ error: { message: 'no reflink' } });
      expect(stoodStillMs(guarded)).toBeLessThan(slackMs);
      await expectSettled(guarded);
    }));

  test('is given up at once when the job is, and its work is told', () =>
    withGuardedFake({}, async (guarded) => {
      const controller = new AbortController();
      const outcome = await guarded.pause(
        60_000,
        async ({ signal }) => {
          controller.abort(new Error('SIGINT'));
          signal.throwIfAborted();
        },
        { signal: controller.signal },
      );
      expect(outcome).toMatchObject({ error: { message: 'SIGINT' } });
      expect(stoodStillMs(guarded)).toBeLessThan(slackMs);
      await expectSettled(guarded);
    }));

  test('that is given up ends at once though its work hears nothing, and what the work then has is void', () =>
    withGuardedFake({}, async (guarded) => {
      const controller = new AbortController();
      const outcome = await guarded.pause(
        60_000,
        async () => {
          controller.abort(new Error('SIGINT'));
          await waitFor('the guest to run', () => !guarded.fake.isPaused());
          return 'captured';
        },
        { signal: controller.signal },
      );
      expect(outcome).toMatchObject({ error: { message: 'SIGINT' } });
      expect(stoodStillMs(guarded)).toBeLessThan(slackMs);
      await expectSettled(guarded);
    }));

  test('of which the history can`t be told the end keeps its lease, by which it is told later', () =>
    withGuardedFake({}, async (guarded) => {
      const outcome = await guarded.pause(5000, async () => {
        guarded.ledger.failNext = new Error('locked');
      });
      expect(outcome).toMatchObject({ error: { message: 'locked' } });
      expect(guarded.fake.isPaused()).toBe(false);
      const received = wordsTo(guarded);
      const [found] = await recoverPauses(guarded.stateDirectory, 'debian');
      expect(found).toMatchObject({ found: 'over', end: { endedBy: 'request' }, resumedByUs: false });
      expect(wordsTo(guarded)).toEqual(received);
    }));
});

describe('the budget', () => {
  const budgetMs = 300;
  const exceeded = { error: { code: 'PauseBudgetExceeded', facts: { budgetMs, guestResumed: true } } };

  test('ends the pause though the work goes on, which is told and counts for nothing', () =>
    withGuardedFake({}, async (guarded) => {
      const outcome = await guarded.pause(budgetMs, async ({ signal }) => {
        await waitFor('the work to be told', () => signal.aborted);
        await waitFor('the guest to run', () => !guarded.fake.isPaused());
        return 'captured';
      });
      expect(outcome).toMatchObject(exceeded);
      expect(stoodStillMs(guarded)).toBeLessThan(budgetMs + slackMs);
      expect(guarded.ledger.ended).toMatchObject([{ endedBy: 'deadline' }]);
      await expectSettled(guarded);
    }));

  test('ends the pause while our event loop is blocked', () =>
    withGuardedFake({}, async (guarded) => {
      const outcome = await guarded.pause(budgetMs, async () => {
        const untilMs = performance.now() + 10 * budgetMs;
        while (performance.now() < untilMs);
        return 'captured';
      });
      expect(outcome).toMatchObject(exceeded);
      expect(stoodStillMs(guarded)).toBeLessThan(5 * budgetMs);
      await expectSettled(guarded);
    }));
});

describe('the guardian', () => {
  test('killed while the guest is paused is noticed at once: we resume it ourselves', () =>
    withGuardedFake({}, async (guarded) => {
      let killedAtMs = 0;
      const outcome = await guarded.pause(60_000, async ({ signal }) => {
        killedAtMs = monotonicMs();
        process.kill(guarded.guardian.identity.pid, 'SIGKILL');
        await waitFor('the work to be told', () => signal.aborted);
        return 'captured';
      });
      expect(outcome).toMatchObject({ error: { code: 'GuardianFailed', facts: { guestState: 'running' } } });
      expect(stoodStillMs(guarded, killedAtMs)).toBeLessThan(slackMs);
      await expectSettled(guarded);
    }));

  test('killed while the work in the pause hears nothing: the guest does not wait for the work', () =>
    withGuardedFake({}, async (guarded) => {
      const outcome = await guarded.pause(60_000, async () => {
        process.kill(guarded.guardian.identity.pid, 'SIGKILL');
        await waitFor('the guest to run', () => !guarded.fake.isPaused());
        return 'captured';
      });
      expect(outcome).toMatchObject({ error: { code: 'GuardianFailed', facts: { guestState: 'running' } } });
      await expectSettled(guarded);
    }));

  test('ended by a signal resumes the guest first', () =>
    withGuardedFake({}, async (guarded) => {
      const outcome = await guarded.pause(60_000, async ({ signal }) => {
        process.kill(guarded.guardian.identity.pid, 'SIGTERM');
        await waitFor('the work to be told', () => signal.aborted);
        return 'captured';
      });
      expect(outcome).toMatchObject({ error: { code: 'GuardianFailed', facts: { guestState: 'running' } } });
      await waitFor('the guardian to be gone', () => !isAlive(guarded.guardian.identity));
      await expectSettled(guarded);
    }));

  test('killed before it was asked to stop the guest leaves it alone, and so do we', () =>
    withGuardedFake({}, async (guarded) => {
      const quiesce = async () => {
        process.kill(guarded.guardian.identity.pid, 'SIGKILL');
        await waitFor('the guardian to be gone', () => !isAlive(guarded.guardian.identity));
        await sleep(50);
      };
      expect(await guarded.pause(5000, captured, { quiesce })).toMatchObject({
        error: { code: 'GuardianFailed', facts: { guestState: 'running' } },
      });
      // Somebody may have stopped the guest on purpose: a go of ours would end that.
      expect(wordsTo(guarded)).toEqual(['version']);
      expect(guarded.ledger.ended).toMatchObject([{ endedBy: 'notStopped' }]);
      await expectSettled(guarded);
    }));

  test('of a job that died before the stop notes that it stopped nobody', () =>
    withGuardedFake({}, async (guarded) => {
      const quiesce = async () => {
        guarded.guardian.close();
        await waitFor('the guardian to be gone', () => !isAlive(guarded.guardian.identity));
        expect(await readLease(guarded.guarded.leaseFile)).toMatchObject({
          lease: { ended: { endedBy: 'notStopped', pausedMs: null } },
        });
        const [found] = await recoverPauses(guarded.stateDirectory, 'debian');
        expect(found).toMatchObject({ found: 'over', resumedByUs: false });
        throw new Error('died');
      };
      expect(await guarded.pause(5000, captured, { quiesce })).toMatchObject({ error: { message: 'died' } });
      expect(wordsTo(guarded)).toEqual(['version']);
    }));

  test('held by SIGSTOP or a debugger while the guest is paused guards nothing: we resume it ourselves', () =>
    withGuardedFake({}, async (guarded) => {
      let heldAtMs = 0;
      const outcome = await guarded.pause(60_000, async ({ signal }) => {
        heldAtMs = monotonicMs();
        process.kill(guarded.guardian.identity.pid, 'SIGSTOP');
        await waitFor('the work to be told', () => signal.aborted);
        return 'captured';
      });
      expect(outcome).toMatchObject({ error: { code: 'GuardianFailed', facts: { guestState: 'running' } } });
      expect(stoodStillMs(guarded, heldAtMs)).toBeLessThan(slackMs);
      await waitFor('the guardian to be gone', () => !isAlive(guarded.guardian.identity));
      await expectSettled(guarded);
    }));
});

describe('a guest', () => {
  test('that was stopped by somebody else is left stopped', () =>
    withGuardedFake({}, async (guarded) => {
      const quiesce = async () => {
        await guarded.say('stop');
      };
      expect(await guarded.pause(5000, captured, { quiesce })).toMatchObject({
        error: { code: 'GuestAlreadyStopped' },
      });
      expect(guarded.fake.isPaused()).toBe(true);
      expect(wordsTo(guarded)).toEqual(['version', 'stop', 'stop']);
      expect(guarded.ledger.ended).toMatchObject([{ endedBy: 'notStopped' }]);
      expect(existsSync(guarded.guarded.leaseFile)).toBe(false);
    }));

  test('that somebody else resumed in the middle has no capture', () =>
    withGuardedFake({}, async (guarded) => {
      const outcome = await guarded.pause(5000, async () => {
        await guarded.say('go');
        return 'captured';
      });
      expect(outcome).toMatchObject({ error: { code: 'ResumedByOthers' } });
      expect(guarded.ledger.ended).toMatchObject([{ endedBy: 'others' }]);
      await expectSettled(guarded);
    }));

  test.each([
    ['before it is asked to stop', { quiesce: true }],
    ['while it is paused', { quiesce: false }],
  ])('that dies %s is gone, and is not said to run', (_, { quiesce }) =>
    withGuardedFake({}, async (guarded) => {
      const die = () => guarded.fake.stop();
      const outcome = await guarded.pause<unknown>(
        5000,
        quiesce ? captured : die,
        quiesce ? { quiesce: die } : {},
      );
      expect(outcome).toMatchObject({ error: { code: 'GuestGone' } });
      expect(guarded.ledger.ended).toMatchObject([{ endedBy: 'guestGone', pausedMs: null }]);
      expect(existsSync(guarded.guarded.leaseFile)).toBe(false);
    }),
  );

  test.each(['beforeAnswer', 'afterAnswer'] as const)('that dies of its stop, %s, is gone', (when) =>
    withGuardedFake({ misbehave: [{ on: 'stop', fault: { kind: 'die', when } }] }, async (guarded) => {
      const outcome = await guarded.pause(1000, captured);
      expect(outcome).toMatchObject({ error: { code: 'GuestGone' } });
      expect(existsSync(guarded.guarded.leaseFile)).toBe(false);
    }),
  );
});
