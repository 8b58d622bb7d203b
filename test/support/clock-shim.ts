import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { tryTool } from './run-tool.js';

/**
 * Compiles the shim into `dir` and gives the environment in which a program's wall clock is so much off; undefined where
 * there is no compiler.
 */
export async function buildClockShim(
  dir: string,
): Promise<((skewSeconds: number) => Record<string, string>) | undefined> {
  const source = fileURLToPath(new URL('./clock-shim.c', import.meta.url));
  const built = join(dir, 'clock-shim.so');
  const arguments_ = ['-O2', '-shared', '-fPIC', '-o', `${built}.new`, source, '-ldl'];
  const compiled = await tryTool('gcc', arguments_).catch(() => undefined);
  if (compiled?.exitCode !== 0) return undefined;
  await rename(`${built}.new`, built);
  return (skewSeconds) => ({ LD_PRELOAD: built, UMLSNAP_TEST_CLOCK_SKEW_S: String(skewSeconds) });
}
