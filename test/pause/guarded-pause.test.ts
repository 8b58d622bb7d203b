import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import { type Lease, readLease, writeLease } from '../../src/pause/lease.js';
import { recoverPauses } from '../../src/pause/recover-pauses.js';
import { isAlive } from '../../src/process-identity.js';
import type { Misbehaviour } from '../fixtures/misbehaviour.js';
import { waitFor } from '../support/wait-for.js';
import {
  expectSettled,
  type GuardedFake,
  sayTo,
  setGuardedFake,
  withGuardedFake,
  wordsTo,
} from './paused-fake.js';

const captured = async () => 'captured';
/** No machine is so busy that a pause of this budget ends by it. */
const endless = 60_000;
const toRun = ({ fake }: GuardedFake) => waitFor('the guest to run', () => !fake.isPaused());

/** For tests that leave it, and its guardian, as they were. */
const withGuest = setGuardedFake();

describe('a pause', () => {
  test('stands in the ledger and, durable, in the lease before the guest is asked to stop', () =>
    withGuest([], async (guarded) => {
      const { guardian, guarded: guest, ledger } = guarded;
      const getReady = async () => {
        expect(ledger.intended).toMatchObject([{ pause: 'job.1', guest: 'debian', budgetMs: endless }]);
        expect(await readLease(guest.leaseFile)).toMatchObject({
          lease: { pause: 'job.1', main: guest.main, guardian: guardian.identity },
        });
        expect(wordsTo(guarded)).not.toContain('stop');
      };
      expect(await guarded.pause(endless, captured, { getReady })).toMatchObject({ value: 'captured' });
      // A go that is not answered in 5 ms is sent again.
      const asked = 'sysrq s proc vmstat proc diskstats';
      expect(wordsTo(guarded).join(' ')).toMatch(new RegExp(`^stop ${asked} go( go)*$`));
      expect(ledger.ended).toMatchObject([{ endedBy: 'request', pausedMs: expect.any(Number) }]);
      await expectSettled(guarded);
    }));

  test('that can`t be written down, or not be prepared, is not begun, and leaves nothing that looks begun', () =>
    withGuest([], async (guarded) => {
      const { ledger, guarded: guest } = guarded;
      vi.spyOn(ledger, 'intendPause').mockRejectedValueOnce(new Error('no history'));
      expect(await guarded.pause(endless, captured)).toMatchObject({ error: { message: 'no history' } });
      expect(ledger.intended).toEqual([]);
      const getReady = () => Promise.reject(new Error('not quiet'));
      const unprepared = await guarded.pause(endless, captured, { getReady });
      expect(unprepared).toMatchObject({ error: { message: 'not quiet' } });
      // Given up meanwhile, and its preparation has not heard of it.
      const given = new AbortController();
      const late = { signal: given.signal, getReady: async () => given.abort(new Error('given up')) };
      expect(await guarded.pause(endless, captured, late)).toMatchObject({ error: { message: 'given up' } });
      await expectSettled(guarded);
      // A file where the leases' directory belongs: there is no room for a lease.
      const leases = dirname(guest.leaseFile);
      rmSync(leases, { recursive: true });
      writeFileSync(leases, '');
      expect(await guarded.pause(endless, captured)).toMatchObject({
        error: { code: 'StateUnusable', facts: { path: guest.leaseFile } },
      });
      rmSync(leases);
      expect(wordsTo(guarded)).toEqual([]);
      const notStopped = { endedBy: 'notStopped', pausedMs: null };
      expect(ledger.ended).toMatchObject([notStopped, notStopped, notStopped]);
    }));

  test('whose work fails ends by our asking, not by its budget, with that failure', () =>
    withGuest([], async (guarded) => {
      const outcome = await guarded.pause(endless, () => Promise.reject(new Error('no reflink')));
      expect(outcome).toMatchObject({
        error: { code: 'CaptureFailed', facts: { problem: 'no reflink' } },
      });
      expect(guarded.ledger.ended).toMatchObject([{ endedBy: 'request' }]);
      await expectSettled(guarded);
    }));

  test.each([
    ['whose work is told', ({ signal }: { signal: AbortSignal }) => signal.throwIfAborted()],
    ['whose work hears nothing, and has something all the same', () => 'captured'],
  ])('of a job that is given up, %s, ends at once and is void', (_, work) =>
    withGuest([], async (guarded) => {
      const controller = new AbortController();
      const giveUp = async (paused: { signal: AbortSignal }) => {
        controller.abort(new Error('SIGINT'));
        // It runs before the work has ended.
        await toRun(guarded);
        return work(paused);
      };
      const outcome = await guarded.pause<unknown>(endless, giveUp, { signal: controller.signal });
      expect(outcome).toMatchObject({ error: { message: 'SIGINT' } });
      await expectSettled(guarded);
    }),
  );

  test('of which the history can`t be told the end keeps its lease, by which it is told later', () =>
    withGuest([], async (guarded) => {
      const outcome = await guarded.pause(endless, async () => {
        vi.spyOn(guarded.ledger, 'endPause').mockRejectedValueOnce(new Error('locked'));
      });
      expect(outcome).toMatchObject({ error: { message: 'locked' } });
      expect(guarded.fake.isPaused()).toBe(false);
      // Behind every `go` that is still on its way to it.
      await sayTo(guarded.fake, 'help');
      const received = wordsTo(guarded);
      const [found] = await recoverPauses(guarded.stateDirectory, 'debian');
      expect(found).toMatchObject({ found: 'over', end: { endedBy: 'request' }, resumedByUs: false });
      expect(wordsTo(guarded)).toEqual(received);
      rmSync(guarded.guarded.leaseFile);
    }));

  test.each<[string, (guarded: GuardedFake, signal: AbortSignal) => Promise<unknown>]>([
    ['though the work goes on, which is told', (_, signal) => waitFor('word', () => signal.aborted)],
    [
      'while our event loop is blocked (fault 46)',
      async ({ fake }) => {
        const never = new Int32Array(new SharedArrayBuffer(4));
        // Nothing else runs here until the guest does.
        for (let looks = 0; fake.isPaused() && looks < 1500; looks++) Atomics.wait(never, 0, 0, 20);
        expect(fake.isPaused()).toBe(false);
      },
    ],
  ])('is ended by its budget %s, and what came of it counts for nothing', (_, work) =>
    withGuest([], async (guarded) => {
      const budgetMs = 1000;
      const outcome = await guarded.pause(budgetMs, async ({ signal }) => {
        await work(guarded, signal);
        await toRun(guarded);
        return 'captured';
      });
      expect(outcome).toMatchObject({
        error: { code: 'PauseBudgetExceeded', facts: { budgetMs, guestResumed: true } },
      });
      expect(guarded.ledger.ended).toMatchObject([{ endedBy: 'deadline' }]);
      await expectSettled(guarded);
    }),
  );
});

describe('the guardian', () => {
  const failed = { error: { code: 'GuardianFailed', facts: { guestState: 'running' } } };

  test.each([
    ['killed', 'SIGKILL'],
    ['ended by a signal, the guest is resumed first', 'SIGTERM'],
    ['held, as by a debugger, and guarding nothing', 'SIGSTOP'],
  ] as const)(
    '%s while the guest is paused (%s): it runs before the work ends, the work is told',
    (_, signal) =>
      withGuardedFake({}, async (guarded) => {
        const { identity } = guarded.guardian;
        const outcome = await guarded.pause(endless, async (paused) => {
          process.kill(identity.pid, signal);
          await toRun(guarded);
          await waitFor('the work to be told', () => paused.signal.aborted);
          return 'captured';
        });
        expect(outcome).toMatchObject(failed);
        await waitFor('the guardian to be gone', () => !isAlive(identity));
        await expectSettled(guarded);
      }),
  );

  test('killed once the stop was answered: a go is proof enough, though the guest answers nothing else', () =>
    withGuardedFake({ misbehave: [{ on: 'proc', fault: { kind: 'dropAnswer' } }] }, async (guarded) => {
      const outcome = await guarded.pause(endless, async () => {
        process.kill(guarded.guardian.identity.pid, 'SIGKILL');
        await toRun(guarded);
      });
      expect(outcome).toMatchObject(failed);
      await expectSettled(guarded);
    }));

  test('killed before it was asked to stop the guest leaves it alone, and so do we', () =>
    withGuardedFake({}, async (guarded) => {
      const { guardian } = guarded;
      const getReady = async () => {
        process.kill(guardian.identity.pid, 'SIGKILL');
        await waitFor('its death', () => !isAlive(guardian.identity));
      };
      expect(await guarded.pause(endless, captured, { getReady })).toMatchObject(failed);
      // Somebody may have stopped the guest on purpose: a go of ours would end that.
      expect(wordsTo(guarded)).toEqual(['version']);
      expect(guarded.ledger.ended).toMatchObject([{ endedBy: 'notStopped' }]);
      await expectSettled(guarded);
    }));

  test('of a job that died before the stop notes that it stopped nobody', () =>
    withGuardedFake({}, async (guarded) => {
      const { guardian, guarded: guest, stateDirectory } = guarded;
      const getReady = async () => {
        guardian.close();
        await waitFor('the guardian to be gone', () => !isAlive(guardian.identity));
        expect(await readLease(guest.leaseFile)).toMatchObject({
          lease: { ended: { endedBy: 'notStopped', pausedMs: null } },
        });
        const [found] = await recoverPauses(stateDirectory, 'debian');
        expect(found).toMatchObject({ found: 'over', resumedByUs: false });
        throw new Error('died');
      };
      expect(await guarded.pause(endless, captured, { getReady })).toMatchObject({
        error: { message: 'died' },
      });
      expect(wordsTo(guarded)).toEqual(['version']);
    }));
});

describe('the capture process', () => {
  const ended = { error: { code: 'CaptureFailed', facts: { device: 'ubd0' } } };

  test.each([
    ['killed', 'SIGKILL'],
    ['held, as by a debugger', 'SIGSTOP'],
  ] as const)(
    '%s while the guest is paused (%s) is noticed long before the budget is over: the guest runs, nothing counts, and it never sends anything',
    (_, signal) =>
      withGuest([], async (guarded) => {
        let pauser = { pid: 0, startTicks: 0 };
        const outcome = await guarded.pause(endless, async (paused) => {
          pauser = paused.pauser;
          process.kill(pauser.pid, signal);
          await toRun(guarded);
        });
        expect(outcome, JSON.stringify(outcome)).toMatchObject(ended);
        expect(guarded.ledger.ended).toMatchObject([{ endedBy: 'guardian', pausedMs: expect.any(Number) }]);
        await waitFor('its end', () => !isAlive(pauser));
        await expectSettled(guarded);
      }),
  );

  test('that looks for a moment to stop is ended with the job, and the guest, which it has not stopped, gets no go', () =>
    withGuest([], async (guarded) => {
      const off = new AbortController();
      const { pauser } = guarded;
      const pausing = guarded.pause(endless, captured, { huntMs: endless, signal: off.signal });
      await waitFor('the guard', () => pauser.page.read().stage === 'guarded');
      const { identity } = pauser;
      off.abort(new Error('SIGINT'));
      expect(await pausing).toMatchObject({ error: { message: 'SIGINT' } });
      expect(isAlive(identity)).toBe(false);
      expect(wordsTo(guarded)).toEqual([]);
      expect(guarded.ledger.ended).toMatchObject([{ endedBy: 'notStopped', pausedMs: null }]);
      await expectSettled(guarded);
    }));

  test('that outlives its orchestrator and the guardian, held by a signal, is ended before recover resumes the guest', () =>
    withGuardedFake({}, async (guarded) => {
      const { guardian, stateDirectory, guarded: guest } = guarded;
      await guarded.pause(endless, async ({ pauser }) => {
        process.kill(pauser.pid, 'SIGSTOP');
        process.kill(guardian.identity.pid, 'SIGSTOP');
        const dead = { pid: 2 ** 22 - 1, startTicks: 1 };
        const found = (await readLease(guest.leaseFile)) as { lease: Lease };
        await writeLease(guest.leaseFile, { ...found.lease, orchestrator: dead, guardian: dead });
        const [recovered] = await recoverPauses(stateDirectory, 'debian');
        expect(recovered).toMatchObject({ found: 'over', resumedByUs: true });
        expect(isAlive(pauser)).toBe(false);
        expect(guarded.fake.isPaused()).toBe(false);
        process.kill(guardian.identity.pid, 'SIGCONT');
      });
    }));
});

describe('a guest', () => {
  test('that was stopped by somebody else is left stopped (fault 7)', () =>
    withGuest([], async (guarded) => {
      const getReady = async () => void (await sayTo(guarded.fake, 'stop'));
      expect(await guarded.pause(endless, captured, { getReady })).toMatchObject({
        error: { code: 'GuestAlreadyStopped' },
      });
      expect(guarded.fake.isPaused()).toBe(true);
      expect(wordsTo(guarded)).toEqual(['stop', 'stop']);
      expect(guarded.ledger.ended).toMatchObject([{ endedBy: 'notStopped' }]);
      expect(existsSync(guarded.guarded.leaseFile)).toBe(false);
    }));

  test('that somebody else resumed in the middle has no capture', () =>
    withGuest([], async (guarded) => {
      const outcome = await guarded.pause(endless, async () => {
        await sayTo(guarded.fake, 'go');
        return 'captured';
      });
      expect(outcome).toMatchObject({ error: { code: 'ResumedByOthers' } });
      expect(guarded.ledger.ended).toMatchObject([{ endedBy: 'others' }]);
      await expectSettled(guarded);
    }));

  test.each<[string, 'getReady' | 'work' | 'beforeAnswer' | 'afterAnswer']>([
    ['before it is asked to stop (fault 1)', 'getReady'],
    ['while it is paused (fault 2)', 'work'],
    ['of its stop, unanswered', 'beforeAnswer'],
    ['of its stop, answered', 'afterAnswer'],
  ])('that dies %s is gone, and is not said to run', (_, when) => {
    const isOfStop = when === 'beforeAnswer' || when === 'afterAnswer';
    const misbehave: Misbehaviour[] = isOfStop ? [{ on: 'stop', fault: { kind: 'die', when } }] : [];
    return withGuardedFake({ misbehave }, async (guarded) => {
      const die = () => guarded.fake.stop();
      const changes = when === 'getReady' ? { getReady: die } : {};
      const work = when === 'work' ? die : captured;
      const outcome = await guarded.pause<unknown>(isOfStop ? 500 : endless, work, changes);
      expect(outcome).toMatchObject({ error: { code: 'GuestGone' } });
      expect(guarded.ledger.ended).toMatchObject([{ endedBy: 'guestGone', pausedMs: null }]);
      expect(existsSync(guarded.guarded.leaseFile)).toBe(false);
    });
  });
});
