import type { Figures } from './figures.js';
import { formatMiB, formatMs, formatTimes } from './format.js';

/** What the project promises of its figures, held against them. Pure. */

export interface Claim {
  /** As a sentence. */
  text: string;
  holds: boolean;
}

const limits = { medianMs: 5, worstMs: 50, timesShorter: 500, growth: 2, ownMiB: 150 };

/** Those of the claims that these figures can prove or disprove. */
export function claimsOf(figures: Figures[]): Claim[] {
  const traced = figures.filter(({ method, filesystem }) => method === 'traced' && filesystem === 'ext4');
  return [
    ...traced.filter(({ sizeMiB }) => sizeMiB === 1024).map(shortPause),
    ...traced.filter(({ sizeMiB }) => sizeMiB === 1024).flatMap(farShorter),
    ...sameForEachSize(traced),
    ...smallInMemory(figures),
  ];
}

function shortPause({ pause, runs }: Figures): Claim {
  return {
    text:
      `1 GiB on ext4, traced, ${runs} runs: a pause of ${formatMs(pause.median)} in the median, ` +
      `${formatMs(pause.worst)} at worst (promised: ${limits.medianMs} ms and ${limits.worstMs} ms)`,
    holds: pause.median <= limits.medianMs && pause.worst <= limits.worstMs,
  };
}

function farShorter({ timesShorter }: Figures): Claim[] {
  if (timesShorter === null) return [];
  const text = `${formatTimes(timesShorter)} shorter than by the recipe in the same run (promised: ${limits.timesShorter}×)`;
  return [{ text, holds: timesShorter >= limits.timesShorter }];
}

function sameForEachSize(traced: Figures[]): Claim[] {
  const [small, large] = [256, 4096].map((size) => traced.find(({ sizeMiB }) => sizeMiB === size));
  if (small === undefined || large === undefined) return [];
  const growth = large.pause.median / small.pause.median;
  const text = `The pause of a 4 GiB image is ${formatTimes(growth)} that of 256 MiB (promised: ${limits.growth}× at most)`;
  return [{ text, holds: growth <= limits.growth }];
}

function smallInMemory(figures: Figures[]): Claim[] {
  const own = figures.flatMap(({ ownBytes }) => (ownBytes === null ? [] : [ownBytes / 2 ** 20]));
  if (own.length === 0) return [];
  const mostMiB = Math.max(...own);
  const text = `The command never held more than ${formatMiB(mostMiB)} in memory (promised: ${limits.ownMiB} MiB)`;
  return [{ text, holds: mostMiB <= limits.ownMiB }];
}
