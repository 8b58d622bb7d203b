import type { Campaign } from './campaign.js';
import type { Entry } from './state.js';

/** What campaigns came to. Pure. */

export type Described = Pick<Campaign, 'name' | 'hazard' | 'held' | 'n' | 'unit' | 'isSeeded'>;

export interface Findings {
  campaign: Described;
  entries: readonly Entry[];
}

const head = ['Campaign', 'What was tried', 'N', 'Lost', 'Seed', 'Date', "Host's kernel", "Guest's kernel"];

export function reportOf(all: readonly Findings[]): string {
  const tried = all.filter(({ entries }) => entries.length > 0);
  const losses = tried.flatMap(lossesOf);
  return [
    '# Reliability',
    'Written by `npm run campaign`: hazards that were met again and again, at random instants, on real guests, filesystems and kills.' +
      ' A trial counts as lost when anything was found wrong after it, and is never tried again.',
    [row(head), row(head.map(() => '---')), ...tried.map((found) => row(cellsOf(found)))].join('\n'),
    '## What must hold',
    tried.map(({ campaign: { name, held } }) => `- **${name}**: ${held}.`).join('\n'),
    '## What was lost',
    losses.length === 0 ? 'Nothing.' : losses.join('\n'),
  ]
    .map((part) => `${part}\n`)
    .join('\n');
}

function cellsOf({ campaign, entries }: Findings): string[] {
  const { name, hazard, n, unit, isSeeded } = campaign;
  const done = doneIn(entries);
  const failed = entries.filter(({ problems }) => problems.length > 0);
  const seeds = isSeeded ? unique(entries.map(({ seed }) => String(seed))) : '–';
  return [
    name,
    `${hazard}${factWords(entries)}`,
    `${number(done)}${done < n ? ` of ${number(n)}` : ''} ${unit}`,
    failed.length === 0
      ? '0'
      : `**${failed.reduce((sum, { problems }) => sum + problems.length, 0)}**, see below`,
    seeds,
    datesOf(entries),
    unique(entries.map(({ host }) => host)),
    unique(entries.map(({ guest }) => guest)),
  ];
}

function factWords(entries: readonly Entry[]): string {
  const sums = new Map<string, number>();
  for (const { facts } of entries) {
    for (const [fact, times] of Object.entries(facts)) sums.set(fact, (sums.get(fact) ?? 0) + times);
  }
  const words = [...sums]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([fact, times]) => `${number(times)} ${fact}`);
  return words.length === 0 ? '' : ` (${words.join(', ')})`;
}

function lossesOf({ campaign: { name, isSeeded }, entries }: Findings): string[] {
  return entries.flatMap(({ problems, first, count, seed, at, revision }) => {
    const trials = count === 1 ? `trial ${first}` : `trials ${first} to ${first + count - 1}`;
    const where = `${name}, ${trials}${isSeeded ? ` of seed ${seed}` : ''}, ${at.slice(0, 10)}, ${revision}`;
    return problems.map((problem) => `- ${where}: ${inLine(problem)}`);
  });
}

/** `kill-anywhere: 130 of 1,000 kills, 0 lost, 1.1/s, 13 min left`. */
export function progressOf({ campaign, entries }: Findings, { wanted, here, hereMs }: Progress): string {
  const done = doneIn(entries);
  const lost = entries.reduce((sum, { problems }) => sum + problems.length, 0);
  const perMs = here / hereMs;
  const rate =
    perMs * 1000 >= 1 ? `${(perMs * 1000).toFixed(1)}/s` : `${(1 / perMs / 1000).toFixed(1)} s each`;
  const left = `${timeWords((wanted - done) / perMs)} left`;
  return `${campaign.name}: ${number(done)} of ${number(wanted)} ${campaign.unit}, ${lost} lost, ${rate}, ${left}`;
}

export interface Progress {
  wanted: number;
  /** How many were done since the start, and in how long. */
  here: number;
  hereMs: number;
}

function timeWords(ms: number): string {
  const seconds = Math.max(0, ms / 1000);
  if (seconds < 90) return `${Math.round(seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

const doneIn = (entries: readonly Entry[]) => entries.reduce((sum, { count }) => sum + count, 0);
const number = (value: number) => value.toLocaleString('en-US');
const unique = (values: string[]) => [...new Set(values)].join(', ');

function datesOf(entries: readonly Entry[]): string {
  const days = entries.map(({ at }) => at.slice(0, 10)).sort();
  return [...new Set([days[0] ?? '', days.at(-1) ?? ''])].join(' to ');
}

const row = (cells: string[]) =>
  `| ${cells.map((cell) => inLine(cell).replaceAll('|', '\\|')).join(' | ')} |`;
/** Of one line, whatever is in it. */
const inLine = (text: string) => text.replaceAll(/\s+/g, ' ').slice(0, 500);
