import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { whyNoLoopMount, withLoopFilesystem } from '../support/loop-filesystem.js';
import { runTool } from '../support/run-tool.js';
import { formatMiB, formatMs } from './format.js';
import { measureIdle, measureRun } from './measure.js';
import type { Measured, Series } from './measurement.js';
import { type MethodName, methods } from './methods.js';
import type { BenchFilesystem, BenchOptions } from './options.js';
import { type Stage, withStage } from './stage.js';

interface Bench {
  options: BenchOptions;
  /** For everything that is made on the way; the compiled programs lie there. */
  dir: string;
  signal: AbortSignal;
  say: (line: string) => void;
}

/** All filesystems, all sizes, all methods, all runs. @throws the signal's reason; a run that fails is a figure that is missing */
export async function runAll(bench: Bench): Promise<Measured> {
  const measured: Measured = { series: [], idle: [], leftOut: [], places: new Map() };
  for (const filesystem of bench.options.filesystems) {
    const why = await withPlace(filesystem, bench, async (dir, description) => {
      bench.say(`${filesystem}: ${description}`);
      measured.places.set(filesystem, description);
      await runFilesystem(bench, filesystem, dir, measured);
    });
    if (why === undefined) continue;
    bench.say(`${filesystem}: left out, ${why}`);
    measured.leftOut.push({ what: filesystem, why });
  }
  return measured;
}

/**
 * Runs `use` in a directory on this filesystem that is gone afterwards: below `dir`, if that is on one, else on a loop
 * device with room for a guest of the largest size, two copies, and one in the making.
 * @returns undefined, or why it was not run
 */
async function withPlace(
  filesystem: BenchFilesystem,
  { dir, options }: Bench,
  use: (dir: string, description: string) => Promise<void>,
): Promise<string | undefined> {
  const found = await runTool('findmnt', ['--noheadings', '--output', 'SOURCE,FSTYPE', '--target', dir]);
  const [source, type] = found.toString().trim().split(/\s+/);
  if (type === filesystem) {
    await mkdir(join(dir, 'm'));
    await use(join(dir, 'm'), `${type} on ${source}`);
    return;
  }
  const why = whyNoLoopMount(filesystem);
  if (why !== undefined) return why;
  const description = `${filesystem} on a loop device whose file lies on ${type} on ${source}`;
  const sizeMiB = Math.max(...options.sizesMiB) * 4 + 1024;
  return await withLoopFilesystem({ type: filesystem, sizeMiB }, async (mountPoint) => {
    await use(mountPoint, description);
    return undefined;
  });
}

async function runFilesystem(bench: Bench, filesystem: BenchFilesystem, dir: string, measured: Measured) {
  const { options, say, signal } = bench;
  const { series, idle, leftOut } = measured;
  // What can't work there is told once, not tried for each size.
  const canWork = (method: MethodName) => !method.startsWith('reflink') || filesystem !== 'ext4';
  for (const method of options.methods.filter((one) => !canWork(one)))
    leftOut.push({ what: `${methods[method].title} on ${filesystem}`, why: 'it has no reflinks' });
  for (const sizeMiB of options.sizesMiB) {
    say(`${filesystem}, ${formatMiB(sizeMiB)}: boots a guest`);
    // A directory of its own, so that no size meets what another one has left.
    const own = join(dir, String(sizeMiB));
    await withStage({ dir: own, sizeMiB, programs: bench.dir }, async (stage) => {
      idle.push({ filesystem, sizeMiB, ...(await measureIdle(stage, options.cache)) });
      const all = options.methods
        .filter(canWork)
        .map((method): Series => ({ filesystem, sizeMiB, method, runs: [], failures: [] }));
      series.push(...all);
      // In rounds of one run each, so that whatever changes on the machine meanwhile concerns all methods.
      for (let round = 1; round <= options.runs; round += 1) {
        for (const one of all) {
          signal.throwIfAborted();
          // What has not worked twice, and never worked, is not asked again.
          if (one.runs.length > 0 || one.failures.length < 2) await runOnce(bench, stage, one, round);
        }
      }
    });
  }
}

async function runOnce({ options, say }: Bench, stage: Stage, series: Series, round: number): Promise<void> {
  const { filesystem, sizeMiB, method } = series;
  const what = `${filesystem}, ${formatMiB(sizeMiB)}, ${method}, ${round} of ${options.runs}`;
  try {
    const run = await measureRun(stage, method, options.cache);
    series.runs.push(run);
    const also = [run.inside, run.remark].filter((text) => text !== null).join('; ');
    say(
      `${what}: pause ${formatMs(run.pausedMs)}, by the ticker ${formatMs(run.tickerMs)}, ` +
        `whole job ${formatMs(run.jobMs)}${also === '' ? '' : ` (${also})`}`,
    );
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    series.failures.push(why);
    say(`${what}: failed, ${why}`);
  }
}
