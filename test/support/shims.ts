import { readFileSync } from 'node:fs';
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { runTool } from './run-tool.js';

/** True where the installed UML would die of the CPU's AMX state: see xstate-shim.c. */
export async function needsXstateShim(): Promise<boolean> {
  if (!/\bamx_tile\b/.test(readFileSync('/proc/cpuinfo', 'utf8'))) return false;
  const version = (await runTool('linux.uml', ['--version'])).toString().trim();
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major < 6 || (major === 6 && minor < 13);
}

/** Compiles a shim into `dir` and gives its path. Several may do so at once. */
export async function buildShim(name: 'xstate-shim' | 'clock-shim', dir: string): Promise<string> {
  const built = join(dir, `${name}.so`);
  const incoming = `${built}.${process.pid}`;
  const source = join(import.meta.dirname, `${name}.c`);
  await runTool('gcc', ['-O2', '-shared', '-fPIC', '-o', incoming, source, '-ldl']);
  await rename(incoming, built);
  return built;
}

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
