import { type Described, sumOf } from './campaign.js';
import type { Entry } from './state.js';

/** What campaigns came to. Pure. */

export interface Findings {
  campaign: Described;
  entries: readonly Entry[];
}

const head = ['Campaign', 'What was tried', 'N', 'Lost', 'Seed', 'Date', "Host's kernel", "Guest's kernel"];

/** @param before the report as it is: a campaign that was never run here keeps its row of elsewhere, and its losses */
export function reportOf(all: readonly Findings[], before = ''): string {
  const linesBefore = before.split('\n');
  const found = all.map(({ campaign, entries }) => {
    const { name, held } = campaign;
    const isHere = entries.length > 0;
    const cells = isHere
      ? row(cellsOf({ campaign, entries }))
      : linesBefore.find((line) => line.startsWith(`| ${name} |`));
    const losses = isHere
      ? lossesOf({ campaign, entries })
      : linesBefore.filter((line) => line.startsWith(`- ${name}, trial`));
    return { cells, held: `- **${name}**: ${held}.`, losses };
  });
  const tried = found.filter(({ cells }) => cells !== undefined);
  const losses = tried.flatMap((one) => one.losses);
  return [
    '# Reliability',
    'Written by `npm run campaign`: each hazard is met again and again, at random instants, by real guests and on real filesystems.' +
      ' A trial is lost when anything is found wrong after it, and is never tried again.',
    [row(head), row(head.map(() => '---')), ...tried.map(({ cells }) => cells)].join('\n'),
    '## What must hold',
    tried.map(({ held }) => held).join('\n'),
    '## What was lost',
    losses.length === 0 ? 'Nothing.' : losses.join('\n'),
  ]
    .map((part) => `${part}\n`)
    .join('\n');
}

function cellsOf({ campaign: { name, hazard, n, unit, isSeeded }, entries }: Findings): string[] {
  const { done, lost } = countsOf(entries);
  const days = entries.map(({ at }) => at.slice(0, 10)).sort();
  return [
    name,
    `${hazard}${factWords(entries)}`,
    `${number(done)}${done < n ? ` of ${number(n)}` : ''} ${unit}`,
    lost === 0 ? '0' : `**${lost}**, see below`,
    isSeeded ? unique(entries.map(({ seed }) => String(seed))) : '–',
    unique([days[0] ?? '', days.at(-1) ?? ''], ' to '),
    unique(entries.map(({ host }) => host)),
    unique(entries.map(({ guest }) => guest)),
  ];
}

function countsOf(entries: readonly Entry[]): { done: number; lost: number } {
  return {
    done: entries.reduce((sum, { count }) => sum + count, 0),
    lost: entries.reduce((sum, { problems }) => sum + problems.length, 0),
  };
}

function factWords(entries: readonly Entry[]): string {
  const facts = sumOf(entries.map((entry) => entry.facts));
  const sums = Object.entries(facts).sort(([a], [b]) => (a < b ? -1 : 1));
  return sums.length === 0 ? '' : ` (${sums.map(([fact, times]) => `${number(times)} ${fact}`).join(', ')})`;
}

function lossesOf({ campaign: { name, isSeeded }, entries }: Findings): string[] {
  return entries.flatMap(({ problems, first, count, seed, at, revision }) => {
    const trials = count === 1 ? `trial ${first}` : `trials ${first} to ${first + count - 1}`;
    const where = `${name}, ${trials}${isSeeded ? ` of seed ${seed}` : ''}, ${at.slice(0, 10)}, ${revision}`;
    return problems.map((problem) => `- ${where}: ${inLine(problem)}`);
  });
}

interface Progress {
  wanted: number;
  /** How many were done since the start, and in how long. */
  here: number;
  hereMs: number;
}

/** `kill-anywhere: 130 of 1,000 kills, 0 lost, 1.1/s, 13 min left`. */
export function progressOf({ campaign, entries }: Findings, { wanted, here, hereMs }: Progress): string {
  const { done, lost } = countsOf(entries);
  const perSecond = (here / hereMs) * 1000;
  const rate = perSecond >= 1 ? `${perSecond.toFixed(1)}/s` : `${(1 / perSecond).toFixed(1)} s each`;
  const left = `${timeWords((wanted - done) / perSecond)} left`;
  return `${campaign.name}: ${number(done)} of ${number(wanted)} ${campaign.unit}, ${lost} lost, ${rate}, ${left}`;
}

function timeWords(seconds: number): string {
  if (seconds < 90) return `${Math.round(Math.max(0, seconds))} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

const number = (value: number) => value.toLocaleString('en-US');
const unique = (values: string[], between = ', ') => [...new Set(values)].join(between);
const row = (cells: string[]) =>
  `| ${cells.map((cell) => inLine(cell).replaceAll('|', '\\|')).join(' | ')} |`;
/** Of one line, whatever is in it. */
const inLine = (text: string) => text.replaceAll(/\s+/g, ' ').slice(0, 500);
