import type { JobWithDetails } from '../../history/job-queries.js';
import {
  type JobLogLine,
  type PauseRecord,
  type PhaseRecord,
  whatFailedWhere,
} from '../../history/records.js';
import { durationText, figureText, timeText, triggerText } from '../format.js';
import { type Html, html } from '../html.js';
import type { JobProgress } from '../live-feed.js';
import type { PendingAction } from '../pending-actions.js';
import { lensWindow, longestPause, phaseClass, timelineWithLens, timesOf } from '../timeline.js';
import { actionNote } from './guest-page.js';
import { statusMark } from './jobs-table.js';
import { layout, tokenField, type View } from './layout.js';
import { atWork } from './state.js';
import { phaseLegend } from './timelines.js';

export interface JobPageFacts {
  job: JobWithDetails;
  progress: JobProgress | undefined;
  action: PendingAction | undefined;
}

/** All that the history holds of one job. */
export function jobPage(view: View, { job, progress, action }: JobPageFacts): Html {
  const { kind, guest, trigger, startedAt, finishedAt, status, error, warnings, phases, pauses, log } = job;
  const took =
    finishedAt === null ? '' : `, took ${durationText(Date.parse(finishedAt) - Date.parse(startedAt))}`;
  const cancel =
    progress &&
    view.formToken !== null &&
    html`<form method="post" action="/jobs/${job.job}/cancel" class="buttons" id="buttons" data-live>${tokenField(view.formToken)}<button class="danger">Cancel this ${kind}</button></form>`;
  const main = html`<header class="page"><h1>${kind}${guest !== null && html` of <a href="/guests/${guest}">${guest}</a>`}</h1>
<p id="state" data-live>${progress ? atWork(progress) : statusMark(status)}</p>${cancel}</header>
<div id="action" data-live aria-live="polite">${action && actionNote(action)}</div>
<p class="hint"><code>${job.job}</code> began ${timeText(startedAt, true)} ${triggerText[trigger]}${took}.</p>
<div id="job" data-live>${error && html`<p class="message bad"><b>${whatFailedWhere(error)}</b> ${error.message}</p>`}
${warnings.map((warning) => html`<p class="message notice">${warning}</p>`)}
${phases.length > 0 && timelineSection(job)}
${phases.length > 0 && phasesTable(phases)}
${pauses.length > 0 && pausesTable(pauses)}
${log.length > 0 && logSection(log)}
${job.summary && Object.keys(job.summary).length > 0 && html`<details><summary>The record, as <code>--json</code> gives it</summary><pre tabindex="0">${JSON.stringify(job.summary, null, 2)}</pre></details>`}</div>`;
  return layout(view, `${kind} ${job.job}`, main);
}

function timelineSection(job: JobWithDetails): Html {
  const times = timesOf(job);
  const pause = longestPause(times);
  const legend = phaseLegend([...new Set(times.phases.map(({ phase }) => phase))]);
  return html`<section aria-labelledby="h-time"><h2 id="h-time">Where the time went</h2>
${pause && lensText(times, pause)}${timelineWithLens(times)}
${legend}</section>`;
}

function lensText(times: ReturnType<typeof timesOf>, pause: { startMs: number; endMs: number }): Html {
  const stillMs = pause.endMs - pause.startMs;
  const window = lensWindow(pause, times);
  const factor = Math.round(times.durationMs / (window.endMs - window.startMs));
  const magnified = factor > 1 ? ` Below, those moments ${factor.toLocaleString('en')} times larger.` : '';
  return html`<p class="caption">The guest stood still for <b>${durationText(stillMs)}</b> of ${durationText(times.durationMs)}.${magnified}</p>`;
}

function phasesTable(phases: PhaseRecord[]): Html {
  const rows = phases.map(
    ({ phase, startedAt, durationMs, outcome, facts }) =>
      html`<tr><th scope="row" class="p-${phaseClass(phase)}">${phase}<td class="figure">${startedAt.slice(11, 23)}<td class="figure">${durationText(durationMs)}<td>${outcome === 'done' ? 'done' : statusMark(outcome)}<td class="why">${factsText(facts)}</tr>`,
  );
  return html`<section aria-labelledby="h-phases"><h2 id="h-phases">Phases</h2><div class="scroll" role="region" aria-label="Phases, a table" tabindex="0"><table class="list phases"><thead><tr><th scope="col">Phase<th scope="col" class="figure">Began, UTC<th scope="col" class="figure">Took<th scope="col">Outcome<th scope="col">Figures</tr></thead><tbody>${rows}</tbody></table></div></section>`;
}

function factsText(facts: Record<string, unknown>): Html[] {
  return Object.entries(facts)
    .filter(([, value]) => value !== null)
    .map(([name, value]) => html`<span class="label">${figureText(name, value)}</span> `);
}

function pausesTable(pauses: PauseRecord[]): Html {
  const rows = pauses.map(
    ({ pause, intendedAt, pausedMs, budgetMs, endedBy }) =>
      html`<tr><th scope="row">${pause.split('.').at(-1)}<td class="figure">${intendedAt.slice(11, 23)}<td class="figure">${pausedMs === null ? '–' : durationText(pausedMs)}<td class="figure">${durationText(budgetMs)}<td>${endedBy ?? 'not over'}</tr>`,
  );
  return html`<section aria-labelledby="h-pauses"><h2 id="h-pauses">Pauses</h2><div class="scroll" role="region" aria-label="Pauses, a table" tabindex="0"><table class="list"><thead><tr><th scope="col">Try<th scope="col" class="figure">Intended, UTC<th scope="col" class="figure">Stood still<th scope="col" class="figure">Budget<th scope="col">Ended by</tr></thead><tbody>${rows}</tbody></table></div></section>`;
}

function logSection(log: JobLogLine[]): Html {
  const rows = log.map(
    ({ at, level, text }) =>
      html`<tr><td class="figure"><time datetime="${at}">${at.slice(11, 23)}</time><td>${level}<td class="why">${text}</tr>`,
  );
  return html`<section aria-labelledby="h-log"><h2 id="h-log">Log</h2><div class="scroll" role="region" aria-label="Log, a table" tabindex="0"><table class="list"><thead><tr><th scope="col" class="figure">At, UTC<th scope="col">Level<th scope="col">What</tr></thead><tbody>${rows}</tbody></table></div></section>`;
}
