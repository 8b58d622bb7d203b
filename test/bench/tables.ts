import type { Figures } from './figures.js';
import { formatMiB, formatMs, formatTimes } from './format.js';
import { methods } from './methods.js';

/** The figures of one filesystem as tables of Markdown. Pure. */

type Columns = Record<string, (figures: Figures) => string>;

const head: Columns = {
  image: ({ sizeMiB }) => formatMiB(sizeMiB),
  method: ({ method, failed, runs }) =>
    `${methods[method].title}${failed > 0 ? ` (${failed} of ${runs + failed} runs failed)` : ''}`,
};

const pauseColumns: Columns = {
  ...head,
  'pause, median': ({ pause }) => formatMs(pause.median),
  'pause, worst': ({ pause }) => formatMs(pause.worst),
  'ticker, median': ({ ticker }) => formatMs(ticker.median),
  'ticker, worst': ({ ticker }) => formatMs(ticker.worst),
  'shorter than the recipe': ({ timesShorter }) => (timesShorter === null ? '' : formatTimes(timesShorter)),
};

const priceColumns: Columns = {
  ...head,
  'whole job, median': ({ jobMs }) => formatMs(jobMs),
  'guest writes meanwhile': ({ guestBytesPerSecond }) => `${formatMiB(guestBytesPerSecond / 2 ** 20)}/s`,
  'longest other gap, median': ({ otherGap }) => formatMs(otherGap.median),
  'and worst': ({ otherGap }) => formatMs(otherGap.worst),
  'memory of the command': ({ ownBytes }) => memory(ownBytes),
  'with its children': ({ togetherBytes }) => memory(togetherBytes),
};

/** How long the guest stands still. */
export function pauseTable(figures: Figures[]): string {
  return tableOf(figures, pauseColumns);
}

/** What a backup takes beside the pause. */
export function priceTable(figures: Figures[]): string {
  return tableOf(figures, priceColumns);
}

function memory(bytes: number | null): string {
  return bytes === null ? '' : formatMiB(bytes / 2 ** 20);
}

function tableOf(figures: Figures[], columns: Columns): string {
  const titles = Object.keys(columns);
  const isText = (title: string) => title in head;
  const rows = [...figures]
    .sort((a, b) => a.sizeMiB - b.sizeMiB)
    .map((row) => titles.map((title) => columns[title]?.(row) ?? ''));
  const rule = titles.map((title) => (isText(title) ? '---' : '---:'));
  return [titles, rule, ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}
