import { buildShim } from './xstate-shim.js';

/**
 * Compiles the shim into `dir` and gives the environment in which a program's wall clock is so much off; undefined where
 * there is no compiler.
 */
export async function buildClockShim(
  dir: string,
): Promise<((skewSeconds: number) => Record<string, string>) | undefined> {
  const shim = await buildShim('clock-shim', dir).catch(() => undefined);
  if (shim === undefined) return undefined;
  return (seconds) => ({ LD_PRELOAD: shim, UMLSNAP_TEST_CLOCK_SKEW_S: String(seconds) });
}
