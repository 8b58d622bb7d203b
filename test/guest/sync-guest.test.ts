import { describe, expect, test } from 'vitest';
import { type SyncableGuest, syncGuest } from '../../src/guest/sync-guest.js';

/** A guest whose dirty pages need so many rounds of `sysrq s`, each of which takes some looks to be still. */
function guestOfRounds(roundsNeeded: number) {
  const seen = { syncs: 0, looks: 0 };
  let completedWrites = 0;
  let busyLooks = 0;
  const guest: SyncableGuest = {
    name: 'debian',
    emergencySync: async () => {
      seen.syncs += 1;
      busyLooks = 4;
      return 'sysrq: Emergency Sync\n';
    },
    dirtyState: async () => {
      seen.looks += 1;
      if (busyLooks > 0) {
        busyLooks -= 1;
        completedWrites += 1;
      }
      const dirtyKib = seen.syncs >= roundsNeeded && busyLooks === 0 ? 0 : 12;
      return { dirtyKib, inFlight: busyLooks > 0 ? 1 : 0, completedWrites, diskWrites: [completedWrites] };
    },
  };
  return { guest, seen };
}

const never = Number.POSITIVE_INFINITY;
const noSignal = new AbortController().signal;

describe('syncing a guest', () => {
  test.each([1, 3])(
    'goes round until nothing is dirty, as its own journal commit makes, and after requests under way: %i',
    async (rounds) => {
      const { guest, seen } = guestOfRounds(rounds);
      const quiet = { settled: true, dirty: { dirtyKib: 0, inFlight: 0 } };
      expect(await syncGuest(guest, 60_000, noSignal)).toMatchObject(quiet);
      expect(seen.syncs).toBe(rounds);
      expect(seen.looks).toBeGreaterThan(4 * rounds);
    },
  );

  test('that never stops writing is given up at the time limit, and told as it is', async () => {
    const { guest, seen } = guestOfRounds(never);
    const result = await syncGuest(guest, 60, noSignal);
    expect(result).toMatchObject({ settled: false, dirty: { dirtyKib: 12 } });
    expect(seen.syncs).toBeGreaterThan(0);
  });

  test.each([0, 60])(
    'that writes between each two looks has not settled, though none finds it dirty: after %i ms',
    async (timeoutMs) => {
      const { guest } = guestOfRounds(1);
      let completedWrites = 0;
      const dirtyState = async () => {
        completedWrites += 1;
        return { dirtyKib: 0, inFlight: 0, completedWrites, diskWrites: [completedWrites] };
      };
      expect(await syncGuest({ ...guest, dirtyState }, timeoutMs, noSignal)).toMatchObject({
        settled: false,
      });
    },
  );

  const refusal = 'This sysrq operation is disabled.';
  test.each([
    ['', 'off'],
    [`${refusal}\n`, refusal],
  ])('takes %j to sysrq s for no sync: the guest must not be stopped on it', async (text, setting) => {
    const guest = { ...guestOfRounds(1).guest, emergencySync: async () => text };
    await expect(syncGuest(guest, 60_000, noSignal)).rejects.toMatchObject({
      code: 'SysrqDisabled',
      facts: { guest: 'debian', setting },
    });
  });

  test('asks again where the words of the kernel came into no answer', async () => {
    const { guest } = guestOfRounds(1);
    const emptyAnswers = [''];
    const emergencySync = async () => emptyAnswers.pop() ?? guest.emergencySync();
    expect(await syncGuest({ ...guest, emergencySync }, 60_000, noSignal)).toMatchObject({ settled: true });
  });

  test('does not wait for the guest to be still once the job is given up', async () => {
    const controller = new AbortController();
    const synced = syncGuest(guestOfRounds(never).guest, 60_000, controller.signal);
    controller.abort(new Error('given up'));
    await expect(synced).rejects.toThrow();
  });
});
