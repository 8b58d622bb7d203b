import type { Figures } from './figures.js';
import { formatMiB, formatMs, formatTimes } from './format.js';

export interface Claim {
  /** As a sentence. */
  text: string;
  holds: boolean;
}

const limits = { medianMs: 5, worstMs: 50, timesShorter: 500, growth: 2, ownMiB: 150 };

/** What the project promises of its figures, as far as these can prove or disprove it. Pure. */
export function claimsOf(figures: Figures[]): Claim[] {
  const claims: Claim[] = [];
  const claim = (holds: boolean, text: string) => claims.push({ text, holds });
  const traced = figures.filter(({ method, filesystem }) => method === 'traced' && filesystem === 'ext4');
  const [small, middle, large] = [256, 1024, 4096].map((size) => traced.find((one) => one.sizeMiB === size));
  if (middle) {
    const { median, worst } = middle.pause;
    claim(
      median <= limits.medianMs && worst <= limits.worstMs,
      `1 GiB on ext4, traced, ${middle.runs} runs: a pause of ${formatMs(median)} in the median, ` +
        `${formatMs(worst)} at worst (promised: ${limits.medianMs} ms and ${limits.worstMs} ms)`,
    );
  }
  const times = middle?.timesShorter ?? null;
  if (times !== null) {
    claim(
      times >= limits.timesShorter,
      `${formatTimes(times)} shorter than by the recipe in the same run (promised: ${limits.timesShorter}×)`,
    );
  }
  if (small && large) {
    const growth = large.pause.median / small.pause.median;
    claim(
      growth <= limits.growth,
      `The pause of a 4 GiB image is ${formatTimes(growth)} that of 256 MiB (promised: ${limits.growth}× at most)`,
    );
  }
  const mostMiB = Math.max(...figures.map(({ ownBytes }) => (ownBytes ?? 0) / 2 ** 20));
  if (mostMiB > 0) {
    claim(
      mostMiB <= limits.ownMiB,
      `The command never held more than ${formatMiB(mostMiB)} in memory (promised: ${limits.ownMiB} MiB)`,
    );
  }
  return claims;
}
