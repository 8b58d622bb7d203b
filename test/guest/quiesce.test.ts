import { describe, expect, test } from 'vitest';
import type { DirtyState } from '../../src/guest/dirty-state.js';
import { type QuiescibleGuest, quiesce } from '../../src/guest/quiesce.js';

const noSignal = new AbortController().signal;

/** A guest whose dirty pages need so many rounds of `sysrq s`, each of which takes some looks to be still. */
class RoundsGuest implements QuiescibleGuest {
  readonly name = 'debian';
  syncs = 0;
  looks = 0;
  #writes = 0;
  #busyLooks = 0;
  readonly #roundsNeeded: number;

  constructor(roundsNeeded: number) {
    this.#roundsNeeded = roundsNeeded;
  }

  async emergencySync(): Promise<string> {
    this.syncs += 1;
    this.#busyLooks = 4;
    return 'sysrq: Emergency Sync\n';
  }

  async dirtyState(): Promise<DirtyState> {
    this.looks += 1;
    if (this.#busyLooks > 0) {
      this.#busyLooks -= 1;
      this.#writes += 1;
    }
    const isDone = this.syncs >= this.#roundsNeeded && this.#busyLooks === 0;
    return {
      dirtyKib: isDone ? 0 : 12,
      inFlight: this.#busyLooks > 0 ? 1 : 0,
      completedWrites: this.#writes,
    };
  }
}

describe('quiescing a guest', () => {
  test.each([1, 3])(
    'goes round until nothing is dirty, as its own journal commit makes, and after requests under way: %i',
    async (rounds) => {
      const guest = new RoundsGuest(rounds);
      const quiet = { settled: true, dirty: { dirtyKib: 0, inFlight: 0 } };
      expect(await quiesce(guest, 60_000, noSignal)).toMatchObject(quiet);
      expect(guest.syncs).toBe(rounds);
      expect(guest.looks).toBeGreaterThan(4 * rounds);
    },
  );

  test('a guest that never stops writing is given up at the time limit, and told as it is', async () => {
    const guest = new RoundsGuest(Number.POSITIVE_INFINITY);
    const result = await quiesce(guest, 60, noSignal);
    expect(result).toMatchObject({ settled: false, dirty: { dirtyKib: 12 } });
    expect(guest.syncs).toBeGreaterThan(0);
  });

  test.each([
    ['an empty OK', '', 'off'],
    [
      'a refusal that is no error',
      'This sysrq operation is disabled.\n',
      'This sysrq operation is disabled.',
    ],
  ])('%s to sysrq s is no sync: the guest must not be stopped on it', async (_, text, setting) => {
    const guest = { ...mute, emergencySync: async () => text };
    await expect(quiesce(guest, 60_000, noSignal)).rejects.toMatchObject({
      code: 'SysrqDisabled',
      facts: { guest: 'debian', setting },
    });
  });

  test('a job that is given up does not wait for the guest to be still', async () => {
    const busy = { ...mute, dirtyState: async () => ({ dirtyKib: 4, inFlight: 1, completedWrites: 1 }) };
    const controller = new AbortController();
    const quiesced = quiesce(busy, 60_000, controller.signal);
    controller.abort(new Error('given up'));
    await expect(quiesced).rejects.toThrow();
  });
});

const mute: QuiescibleGuest = {
  name: 'debian',
  emergencySync: async () => 'sysrq: Emergency Sync\n',
  dirtyState: async () => ({ dirtyKib: 0, inFlight: 0, completedWrites: 0 }),
};
