import type { JobWithDetails } from '../../history/job-queries.js';
import { durationText, timeText } from '../format.js';
import { type Html, html } from '../html.js';
import { longestPause, phaseClass, timelineBar, timesOf } from '../timeline.js';

/** Jobs under each other, at one scale, so that they can be compared. */
export function timelines(jobs: JobWithDetails[]): Html {
  const drawn = jobs.map((job) => ({ job, times: timesOf(job) })).filter(({ times }) => times.durationMs > 0);
  if (drawn.length === 0) return html`<p class="hint">No backup has gone through its phases yet.</p>`;
  const scaleMs = Math.max(...drawn.map(({ times }) => times.durationMs));
  const rows = drawn.map(({ job, times }) => {
    const pause = longestPause(times);
    const still = pause ? durationText(pause.endMs - pause.startMs) : 'none';
    return html`<tr><th scope="row"><a href="/jobs/${job.job}">${timeText(job.startedAt)}</a><td class="wide">${timelineBar(times, scaleMs)}<td class="figure">${durationText(times.durationMs)}<td class="figure still">${still}</tr>`;
  });
  return html`<div class="scroll" role="region" aria-label="Phases of the newest backups, a table" tabindex="0"><table class="times"><thead><tr><th scope="col">Began<th scope="col">Phases, all to one scale<th scope="col" class="figure">In all<th scope="col" class="figure">Pause</tr></thead><tbody>${rows}</tbody></table></div>
${phaseLegend([...new Set(drawn.flatMap(({ times }) => times.phases.map(({ phase }) => phase)))])}`;
}

export function phaseLegend(phases: string[]): Html {
  const needle = html`<li class="needle">pause (its width is not to scale)`;
  return html`<ul class="legend phases">${phases.map((phase) => html`<li class="p-${phaseClass(phase)}">${phase}`)}${needle}</ul>`;
}
