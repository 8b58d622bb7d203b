import type { Figures } from './figures.js';
import { formatMiB, formatMs, formatTimes } from './format.js';

export interface Claim {
  /** As a sentence. */
  text: string;
  holds: boolean;
}

const limits = { medianMs: 1.5, worstMs: 10, timesShorter: 700, growth: 2, ownMiB: 150 };

/** What the project promises of its figures, as far as these can prove or disprove it. Pure. */
export function claimsOf(figures: Figures[]): Claim[] {
  const claims: Claim[] = [];
  const claim = (holds: boolean, text: string) => claims.push({ text, holds });
  const { medianMs, worstMs, timesShorter, growth, ownMiB } = limits;
  const traced = figures.filter(({ method, filesystem }) => method === 'traced' && filesystem === 'ext4');
  const [small, middle, large] = [256, 1024, 4096].map((size) => traced.find((one) => one.sizeMiB === size));
  if (middle) {
    const { median, worst } = middle.pause;
    claim(
      median <= medianMs && worst <= worstMs,
      `1 GiB on ext4, traced, ${middle.runs} runs: a pause of ${formatMs(median)} in the median, ` +
        `${formatMs(worst)} at worst (promised: ${medianMs} ms and ${worstMs} ms)`,
    );
  }
  const times = middle?.timesShorter ?? null;
  if (times !== null) {
    const shorter = `${formatTimes(times)} shorter than by the recipe in the same run`;
    claim(times >= timesShorter, `${shorter} (promised: ${timesShorter}×)`);
  }
  if (small && large) {
    const grown = large.pause.median / small.pause.median;
    const text = `The pause of a 4 GiB image is ${formatTimes(grown)} that of 256 MiB`;
    claim(grown <= growth, `${text} (promised: ${growth}× at most)`);
  }
  const mostMiB = Math.max(...figures.map(({ ownBytes }) => (ownBytes ?? 0) / 2 ** 20));
  if (mostMiB > 0) {
    const text = `The command never held more than ${formatMiB(mostMiB)} in memory`;
    claim(mostMiB <= ownMiB, `${text} (promised: ${ownMiB} MiB)`);
  }
  return claims;
}
