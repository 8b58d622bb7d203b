import { setTimeout as sleep } from 'node:timers/promises';

interface WaitOptions {
  /** Generous by default: it is there to end a broken test, not to measure a good one. */
  limitMs?: number;
  everyMs?: number;
  /** Told when the wait fails: what there is instead. */
  found?: () => unknown;
}

/**
 * Waits until `probe` gives something other than undefined, null or false, and returns that.
 * @throws Error naming `what` when the limit passes
 */
export async function waitFor<T>(
  what: string,
  probe: () => T | Promise<T>,
  { limitMs = 30_000, everyMs = 20, found }: WaitOptions = {},
): Promise<Exclude<T, undefined | null | false>> {
  const startedAt = performance.now();
  for (;;) {
    const value = await probe();
    if (value !== undefined && value !== null && value !== false)
      return value as Exclude<T, undefined | null | false>;
    if (performance.now() - startedAt > limitMs) {
      const instead = found ? `; found instead: ${String(found())}` : '';
      throw new Error(`waited ${limitMs} ms in vain for ${what}${instead}`);
    }
    await sleep(everyMs);
  }
}
