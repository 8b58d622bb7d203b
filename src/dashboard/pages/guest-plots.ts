import type { PlottedPause, PlottedSize } from '../../history/overview-queries.js';
import { durationText, sizeText, timeText } from '../format.js';
import { type Html, html } from '../html.js';
import { decadeScale, linearScale, plot } from '../plot.js';

/** A guest's pauses and sizes, over all that is shown of its past. */
export function guestPlots(pauses: PlottedPause[], sizes: PlottedSize[]): Html {
  if (pauses.length < 2 && sizes.length < 2)
    return html`<p class="hint">After a few backups, their pauses and sizes are drawn here.</p>`;
  return html`${pauses.length >= 2 && pausePlot(pauses)}${sizes.length >= 2 && sizePlot(sizes)}`;
}

function pausePlot(pauses: PlottedPause[]): Html {
  const values = pauses.map(({ pausedMs }) => pausedMs);
  const longest = Math.max(...values);
  const median = values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
  const at = ({ intendedAt }: PlottedPause) => Date.parse(intendedAt);
  return plot({
    title: `Pauses: ${durationText(median)} in the middle, ${durationText(longest)} at most. The line is the budget.`,
    ariaLabel: `${pauses.length} pauses between ${durationText(Math.min(...values))} and ${durationText(longest)}`,
    series: [
      { look: 'dots', points: pauses.map((pause) => ({ atMs: at(pause), value: pause.pausedMs })) },
      { look: 'dash', points: pauses.map((pause) => ({ atMs: at(pause), value: pause.budgetMs })) },
    ],
    scale: decadeScale([...values, ...pauses.map(({ budgetMs }) => budgetMs)], durationText),
    ...ends(pauses.map(({ intendedAt }) => intendedAt)),
  });
}

function sizePlot(sizes: PlottedSize[]): Html {
  const last = sizes.at(-1);
  const [size, stored] = [last?.sizeBytes ?? 0, last?.storedBytes ?? 0].map(sizeText);
  const at = ({ takenAt }: PlottedSize) => Date.parse(takenAt);
  return plot({
    title: `Sizes: the disks are ${size} now (dashed), ${stored} of it stored (line).`,
    ariaLabel: `${sizes.length} snapshots, the newest with ${stored} stored of ${size}`,
    series: [
      { look: 'dash', points: sizes.map((one) => ({ atMs: at(one), value: one.sizeBytes })) },
      { look: 'line', points: sizes.map((one) => ({ atMs: at(one), value: one.storedBytes })) },
    ],
    scale: linearScale(
      sizes.map(({ sizeBytes }) => sizeBytes),
      sizeText,
    ),
    ...ends(sizes.map(({ takenAt }) => takenAt)),
  });
}

function ends(times: string[]): { from: string; to: string } {
  return { from: timeText(times[0] ?? ''), to: timeText(times.at(-1) ?? '') };
}
