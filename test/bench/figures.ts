import type { Series } from './measurement.js';
import { type MethodName, methods } from './methods.js';
import type { BenchFilesystem } from './options.js';
import { median, worst } from './statistics.js';

/** What the runs of a method come to. Times are in ms. */
export interface Figures {
  filesystem: BenchFilesystem;
  sizeMiB: number;
  method: MethodName;
  runs: number;
  failed: number;
  pause: Spread;
  ticker: Spread;
  otherGap: Spread;
  jobMs: number;
  guestBytesPerSecond: number;
  ownBytes: number | null;
  togetherBytes: number | null;
  /** How often the recipe's pause holds this one's, by medians; null: the recipe was not measured. */
  timesShorter: number | null;
}

export interface Spread {
  median: number;
  worst: number;
}

/** Pure. A series without a single figure is not among them. */
export function figuresOf(all: Series[]): Figures[] {
  return all
    .filter(({ runs }) => runs.length > 0)
    .map((series) => {
      const { filesystem, sizeMiB, method, runs, failures } = series;
      const pause = spreadOf(runs.map(({ pausedMs }) => pausedMs));
      const memory = runs.flatMap((run) => (run.memory === null ? [] : [run.memory]));
      const most = (of: number[]) => (of.length === 0 ? null : worst(of));
      return {
        ...{ filesystem, sizeMiB, method, pause },
        runs: runs.length,
        failed: failures.length,
        ticker: spreadOf(runs.map(({ tickerMs }) => tickerMs)),
        otherGap: spreadOf(runs.map(({ otherGapMs }) => otherGapMs)),
        jobMs: median(runs.map(({ jobMs }) => jobMs)),
        guestBytesPerSecond: median(runs.map((run) => run.guestBytesPerSecond)),
        ownBytes: most(memory.map(({ ownBytes }) => ownBytes)),
        togetherBytes: most(memory.map(({ togetherBytes }) => togetherBytes)),
        timesShorter: timesShorter(all, series, pause.median),
      };
    });
}

function spreadOf(values: number[]): Spread {
  return { median: median(values), worst: worst(values) };
}

function timesShorter(
  all: Series[],
  { filesystem, sizeMiB, method }: Series,
  medianMs: number,
): number | null {
  const isRecipe = (one: Series) => methods[one.method].settings === null;
  const recipe = all.find((one) => isRecipe(one) && one.filesystem === filesystem && one.sizeMiB === sizeMiB);
  if (recipe === undefined || recipe.runs.length === 0 || recipe.method === method) return null;
  return median(recipe.runs.map(({ pausedMs }) => pausedMs)) / medianMs;
}
