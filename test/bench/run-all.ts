import { join } from 'node:path';
import { formatMiB, formatMs } from './format.js';
import { measureIdle, measureRun } from './measure.js';
import type { Idle, LeftOut, Series } from './measurement.js';
import { type MethodName, methods } from './methods.js';
import type { BenchFilesystem, BenchOptions } from './options.js';
import { whyNoPlace, withPlace } from './place.js';
import type { Programs } from './programs.js';
import { type Stage, withStage } from './stage.js';

export interface Bench {
  options: BenchOptions;
  /** For everything that is made on the way. */
  dir: string;
  programs: Programs;
  signal: AbortSignal;
  say: (line: string) => void;
}

export interface Measured {
  series: Series[];
  idle: Idle[];
  leftOut: LeftOut[];
  places: Map<string, string>;
}

/** All filesystems, all sizes, all methods, all runs. @throws the signal's reason; a run that fails is a figure that is missing */
export async function runAll(bench: Bench): Promise<Measured> {
  const { options, dir, say } = bench;
  const measured: Measured = { series: [], idle: [], leftOut: [], places: new Map() };
  for (const filesystem of options.filesystems) {
    const why = await whyNoPlace(filesystem, dir);
    if (why !== undefined) {
      say(`${filesystem}: left out, ${why}`);
      measured.leftOut.push({ what: filesystem, why });
      continue;
    }
    await withPlace(filesystem, dir, Math.max(...options.sizesMiB), async (place) => {
      say(`${filesystem}: ${place.description}`);
      measured.places.set(filesystem, place.description);
      const possible = methodsOn(filesystem, options.methods, measured.leftOut);
      for (const sizeMiB of options.sizesMiB) {
        say(`${filesystem}, ${formatMiB(sizeMiB)}: boots a guest`);
        // A directory of its own, so that no size meets what another one has left.
        const own = join(place.dir, String(sizeMiB));
        await withStage({ dir: own, sizeMiB, programs: bench.programs }, async (stage) => {
          const alone = await measureIdle(stage, options.cache);
          measured.idle.push({ filesystem, sizeMiB, ...alone });
          measured.series.push(...(await runSize(bench, stage, { filesystem, sizeMiB, possible })));
        });
      }
    });
  }
  return measured;
}

/** Those that can work there; what can't is told once, not tried for each size. */
function methodsOn(filesystem: BenchFilesystem, wanted: MethodName[], leftOut: LeftOut[]): MethodName[] {
  return wanted.filter((method) => {
    const isPossible = method !== 'reflink' || filesystem !== 'ext4';
    if (!isPossible)
      leftOut.push({ what: `${methods[method].title} on ${filesystem}`, why: 'it has no reflinks' });
    return isPossible;
  });
}

interface SizeOrder {
  filesystem: BenchFilesystem;
  sizeMiB: number;
  possible: MethodName[];
}

/** In rounds of one run each, so that whatever changes on the machine meanwhile concerns all methods. */
async function runSize(bench: Bench, stage: Stage, order: SizeOrder): Promise<Series[]> {
  const { filesystem, sizeMiB, possible } = order;
  const all = possible.map((method): Series => ({ filesystem, sizeMiB, method, runs: [], failures: [] }));
  for (let round = 1; round <= bench.options.runs; round += 1) {
    for (const series of all) {
      // What has not worked twice, and never worked, is not asked again.
      if (series.runs.length === 0 && series.failures.length > 1) continue;
      bench.signal.throwIfAborted();
      await runOnce(bench, stage, series, round);
    }
  }
  return all;
}

async function runOnce({ options, say }: Bench, stage: Stage, series: Series, round: number): Promise<void> {
  const { filesystem, sizeMiB, method } = series;
  const what = `${filesystem}, ${formatMiB(sizeMiB)}, ${methods[method].shortTitle}, ${round} of ${options.runs}`;
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
