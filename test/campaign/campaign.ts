/** What a reliability campaign is: the same hazard, met again and again, at instants that a seed decides. */

/** One trial, or some that can't be told apart: the cuts of one stage, the rounds of one run of a test. */
export interface Trial {
  count: number;
  /** What was lost, or found wrong; the seed and the trial's number lead there again. */
  problems: string[];
  /** What it has met, to be summed up: a kill inside a pause, a pass through every system call. */
  facts: Record<string, number>;
}

export interface Wanted {
  /** Trials are numbered from 0; those before were done already. */
  from: number;
  count: number;
  random: (trial: number) => Random;
  /** Of what takes long within one trial: between two of them the campaign is just not asked for more. */
  signal: AbortSignal;
}

export interface Described {
  name: string;
  /** For the report: what is done to it. */
  hazard: string;
  /** For the report: what it would be to lose. */
  held: string;
  /** How many make a full campaign, and what they are. */
  n: number;
  unit: string;
  isSeeded: boolean;
}

export interface Campaign extends Described {
  trials(wanted: Wanted): AsyncGenerator<Trial>;
}

/** From 0 up to 1, without it. */
export type Random = () => number;

/** The same numbers for the same trial of the same seed, whatever was done before it (mulberry32). */
export function randomOf(seed: number, trial: number): Random {
  let state = (Math.imul(seed, 0x9e3779b1) ^ Math.imul(trial + 1, 0x85ebca6b)) >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export const below = (random: Random, end: number): number => Math.floor(random() * end);

export function oneOf<T>(random: Random, choices: readonly T[]): T {
  const chosen = choices[below(random, choices.length)];
  if (chosen === undefined) throw new Error('there is nothing to choose from');
  return chosen;
}

/** What all of these facts come to. */
export function sumOf(all: readonly Trial['facts'][]): Trial['facts'] {
  const sums: Trial['facts'] = {};
  for (const [fact, times] of all.flatMap(Object.entries<number>)) sums[fact] = (sums[fact] ?? 0) + times;
  return sums;
}

/** What `use` finds wrong, or throws. */
export async function problemsOf(use: () => Promise<string[]>): Promise<string[]> {
  return await use().catch((error) => [error instanceof Error ? error.message : String(error)]);
}
