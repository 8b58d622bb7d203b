import type { Figures } from './figures.js';
import { formatMiB, formatMs, formatTimes } from './format.js';
import { methods } from './methods.js';

type Columns = Record<string, (figures: Figures) => string>;

const head: Columns = {
  image: ({ sizeMiB }) => formatMiB(sizeMiB),
  method: ({ method, failed, runs }) =>
    `${methods[method].title}${failed > 0 ? ` (${failed} of ${runs + failed} runs failed)` : ''}`,
};
const memory = (bytes: number | null) => (bytes === null ? '' : formatMiB(bytes / 2 ** 20));

/** How long the guest stands still, of the figures of one filesystem. */
export const pauseTable = tableOf({
  'pause, median': ({ pause }) => formatMs(pause.median),
  'pause, worst': ({ pause }) => formatMs(pause.worst),
  'ticker, median': ({ ticker }) => formatMs(ticker.median),
  'ticker, worst': ({ ticker }) => formatMs(ticker.worst),
  'shorter than the recipe': ({ timesShorter }) => (timesShorter === null ? '' : formatTimes(timesShorter)),
});

/** What a backup takes beside the pause. */
export const priceTable = tableOf({
  'whole job, median': ({ jobMs }) => formatMs(jobMs),
  'guest writes meanwhile': ({ guestBytesPerSecond }) => `${formatMiB(guestBytesPerSecond / 2 ** 20)}/s`,
  'longest other gap, median': ({ otherGap }) => formatMs(otherGap.median),
  'and worst': ({ otherGap }) => formatMs(otherGap.worst),
  'memory of the command': ({ ownBytes }) => memory(ownBytes),
  'with its children': ({ togetherBytes }) => memory(togetherBytes),
});

function tableOf(numbers: Columns): (figures: Figures[]) => string {
  const columns = { ...head, ...numbers };
  const titles = Object.keys(columns);
  const rule = titles.map((title) => (title in head ? '---' : '---:'));
  return (figures) => {
    const rows = figures
      .toSorted((a, b) => a.sizeMiB - b.sizeMiB)
      .map((row) => Object.values(columns).map((cellOf) => cellOf(row)));
    return [titles, rule, ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
  };
}
