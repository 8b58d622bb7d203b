import { claimsOf } from './claims.js';
import { type Figures, figuresOf } from './figures.js';
import { formatMiB, formatMs } from './format.js';
import type { Idle, LeftOut, Series } from './measurement.js';
import { methods } from './methods.js';
import { pauseTable, priceTable } from './tables.js';

/** What a run of the benchmarks came to. */
export interface Findings {
  takenAt: Date;
  command: string;
  cache: 'cold' | 'warm';
  machine: string[];
  /** By filesystem: what it lies on. */
  places: Map<string, string>;
  series: Series[];
  idle: Idle[];
  leftOut: LeftOut[];
  /** The plot's file, seen from the report. */
  plot: string;
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

/** The findings in Markdown. Pure. */
export function reportOf(findings: Findings): string {
  const { takenAt, command, machine, cache, series, leftOut } = findings;
  const figures = figuresOf(series);
  const claims = claimsOf(figures).map(
    ({ text, holds }) => `${holds ? 'Holds' : '**Does not hold**'}: ${text}.`,
  );
  const remarks = [...leftOut.map(({ what, why }) => `Left out: ${what}: ${why}`), ...remarksOf(series)];
  return [
    `Measured on ${takenAt.toISOString().slice(0, 10)} by \`${command}\`.`,
    list([...machine, cacheWords[cache]]),
    list(claims),
    figures.length > 0 ? `![Pause of the guest against the size of its image](${findings.plot})` : '',
    ...[...findings.places].map(([filesystem, lies]) =>
      sectionOf(
        filesystem,
        lies,
        figures.filter((one) => one.filesystem === filesystem),
        findings.idle.filter((one) => one.filesystem === filesystem),
      ),
    ),
    list(remarks),
  ]
    .filter((part) => part !== '')
    .join('\n\n');
}

const cacheWords = {
  cold: "the host's page cache was emptied before each run, of every method: what a nightly backup meets",
  warm: "the host's page cache was left as it was, mostly with the image in it",
};

function sectionOf(filesystem: string, lies: string, figures: Figures[], idle: Idle[]): string {
  const tables = [
    'How long the guest stands still:',
    pauseTable(figures),
    'What the backup takes beside that:',
    priceTable(figures),
    `Without any backup, for comparison: ${idle.map(idleWords).join('; ')}.`,
  ];
  return [`## ${filesystem}`, `${lies}.`, ...(figures.length > 0 ? tables : ['No figures.'])].join('\n\n');
}

function idleWords({ sizeMiB, guestBytesPerSecond, longestGapMs }: Idle): string {
  const speed = `${formatMiB(guestBytesPerSecond / 2 ** 20)}/s`;
  return `${formatMiB(sizeMiB)}: the guest writes ${speed}, and its longest gap is ${formatMs(longestGapMs)}`;
}

function remarksOf(all: Series[]): string[] {
  return all.flatMap(({ filesystem, sizeMiB, method, runs, failures }) => {
    const where = `${methods[method].title}, ${sizeMiB} MiB on ${filesystem}`;
    const remarks = runs.flatMap(({ remark }) => (remark === null ? [] : [remark]));
    return [
      ...counted(failures).map(
        ([why, times]) => `Failed: ${where}, ${times} of ${runs.length + failures.length} runs: ${why}`,
      ),
      ...counted(remarks).map(([what, times]) => `${where}, ${times} of ${runs.length} runs: ${what}`),
    ];
  });
}

function counted(texts: string[]): [string, number][] {
  const times = new Map<string, number>();
  for (const text of texts) times.set(text, (times.get(text) ?? 0) + 1);
  return [...times];
}

/** Of one line each, whatever is in them. */
function list(lines: string[]): string {
  return lines.map((line) => `- ${line.replaceAll(/\s+/g, ' ')}`).join('\n');
}
