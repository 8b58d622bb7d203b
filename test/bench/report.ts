import { claimsOf } from './claims.js';
import { type Figures, figuresOf } from './figures.js';
import { formatMiB, formatMs } from './format.js';
import type { Idle, Measured, Series } from './measurement.js';
import { methods } from './methods.js';
import { pauseTable, priceTable } from './tables.js';

/** What a run of the benchmarks came to. */
export interface Findings extends Measured {
  takenAt: Date;
  command: string;
  cache: 'cold' | 'warm';
  machine: string[];
}

const markers = { begin: '<!-- bench: begin, written by npm run bench -->', end: '<!-- bench: end -->' };

/** Puts the findings between the markers of the document, in place of those before. @throws Error when it has none */
export function putInto(document: string, findings: string): string {
  const [from, to] = [document.indexOf(markers.begin), document.indexOf(markers.end)];
  if (from < 0 || to < from) throw new Error(`the document lacks ${markers.begin} … ${markers.end}`);
  return `${document.slice(0, from + markers.begin.length)}\n\n${findings}\n\n${document.slice(to)}`;
}

/** A document that has nothing but room for findings. */
export const emptyDocument = `# Benchmarks\n\n${markers.begin}\n${markers.end}\n`;

const cacheWords = {
  cold: "the host's page cache was emptied before each run, of every method: what a nightly backup meets",
  warm: "the host's page cache was left as it was, mostly with the image in it",
};

/** The findings in Markdown. Pure. */
export function reportOf({ takenAt, command, machine, cache, ...measured }: Findings): string {
  const { places, series, idle, leftOut } = measured;
  const figures = figuresOf(series);
  const claims = claimsOf(figures).map(
    ({ text, holds }) => `${holds ? 'Holds' : '**Does not hold**'}: ${text}.`,
  );
  return [
    `Measured on ${takenAt.toISOString().slice(0, 10)} by \`${command}\`.`,
    list([...machine, cacheWords[cache]]),
    list(claims),
    ...[...places].flatMap(([filesystem, lies]) => [
      `## ${filesystem}`,
      `${lies}.`,
      ...sectionOf(
        figures.filter((one) => one.filesystem === filesystem),
        idle.filter((one) => one.filesystem === filesystem),
      ),
    ]),
    list([...leftOut.map(({ what, why }) => `Left out: ${what}: ${why}`), ...series.flatMap(remarksOf)]),
  ]
    .filter((part) => part !== '')
    .join('\n\n');
}

function sectionOf(figures: Figures[], idle: Idle[]): string[] {
  if (figures.length === 0) return ['No figures.'];
  return [
    'How long the guest stands still:',
    pauseTable(figures),
    'What the backup takes beside that:',
    priceTable(figures),
    `Without any backup, for comparison: ${idle.map(idleWords).join('; ')}.`,
  ];
}

function idleWords({ sizeMiB, guestBytesPerSecond, longestGapMs }: Idle): string {
  const speed = `${formatMiB(guestBytesPerSecond / 2 ** 20)}/s`;
  return `${formatMiB(sizeMiB)}: the guest writes ${speed}, and its longest gap is ${formatMs(longestGapMs)}`;
}

function remarksOf({ filesystem, sizeMiB, method, runs, failures }: Series): string[] {
  const where = `${methods[method].title}, ${sizeMiB} MiB on ${filesystem}`;
  const timesOf = (texts: string[], of: number) =>
    [...new Set(texts)].map((text) => {
      const times = texts.filter((other) => other === text).length;
      return `${where}, ${times} of ${of} runs: ${text}`;
    });
  return [
    ...timesOf(failures, runs.length + failures.length).map((text) => `Failed: ${text}`),
    ...timesOf(
      runs.flatMap(({ remark }) => remark ?? []),
      runs.length,
    ),
  ];
}

/** Of one line each, whatever is in them. */
function list(lines: string[]): string {
  return lines.map((line) => `- ${line.replaceAll(/\s+/g, ' ')}`).join('\n');
}
