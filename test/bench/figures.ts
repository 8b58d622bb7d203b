import type { Series } from './measurement.js';
import { methods } from './methods.js';

export type Figures = ReturnType<typeof figuresOf>[number];

/** What the runs of a method come to, in ms, each with the recipe beside it. Pure. A series without a single figure is not among them. */
export function figuresOf(all: Series[]) {
  return all.filter(({ runs }) => runs.length > 0).map((series) => figuresBeside(all, series));
}

function figuresBeside(all: Series[], { filesystem, sizeMiB, method, runs, failures }: Series) {
  const pause = spreadOf(runs.map(({ pausedMs }) => pausedMs));
  const memory = runs.flatMap((run) => run.memory ?? []);
  const recipe = all.find(
    (one) => isRecipe(one) && one.filesystem === filesystem && one.sizeMiB === sizeMiB && one.runs.length > 0,
  );
  return {
    ...{ filesystem, sizeMiB, method, pause },
    runs: runs.length,
    failed: failures.length,
    ticker: spreadOf(runs.map(({ tickerMs }) => tickerMs)),
    otherGap: spreadOf(runs.map(({ otherGapMs }) => otherGapMs)),
    jobMs: median(runs.map(({ jobMs }) => jobMs)),
    guestBytesPerSecond: median(runs.map((run) => run.guestBytesPerSecond)),
    /** null: nothing of umlsnap ran. */
    ownBytes: mostOf(memory.map(({ ownBytes }) => ownBytes)),
    togetherBytes: mostOf(memory.map(({ togetherBytes }) => togetherBytes)),
    /** How often the recipe's pause holds this one's, by medians; null: the recipe was not measured. */
    timesShorter:
      recipe === undefined || recipe.method === method
        ? null
        : median(recipe.runs.map(({ pausedMs }) => pausedMs)) / pause.median,
  };
}

const isRecipe = ({ method }: Series) => methods[method].settings === null;
const spreadOf = (values: number[]) => ({ median: median(values), worst: Math.max(...values) });
const mostOf = (values: number[]) => (values.length === 0 ? null : Math.max(...values));

/** Of an even number of values, the mean of the two in the middle. @throws RangeError when there are none */
export function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const upper = sorted[Math.floor(sorted.length / 2)];
  const lower = sorted[Math.ceil(sorted.length / 2) - 1];
  if (upper === undefined || lower === undefined) throw new RangeError('no values, no median');
  return (lower + upper) / 2;
}
