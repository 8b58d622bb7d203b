import { formatDuration } from '../../config/duration.js';
import type { JobWithDetails } from '../../history/job-queries.js';
import { levelText } from '../../history/levels.js';
import type { PlottedPause, PlottedSize } from '../../history/overview-queries.js';
import type { JobRecord } from '../../history/records.js';
import { ageText, durationText, msSince, soonText, timeText } from '../format.js';
import type { GuestOverview } from '../guest-overview.js';
import { type Html, html } from '../html.js';
import type { JobProgress } from '../live-feed.js';
import type { PendingAction } from '../pending-actions.js';
import { guestPlots } from './guest-plots.js';
import { jobsTable } from './jobs-table.js';
import { layout, tokenField, type View } from './layout.js';
import { type ShownSnapshot, snapshotsTable } from './snapshots-table.js';
import { atWork, stateText } from './state.js';
import { timelines } from './timelines.js';

export interface GuestPageFacts {
  about: GuestOverview;
  progress: JobProgress | undefined;
  snapshots: ShownSnapshot[];
  /** Oldest first. */
  pauses: PlottedPause[];
  sizes: PlottedSize[];
  /** Newest first. */
  detailed: JobWithDetails[];
  jobs: { shown: JobRecord[]; offset: number; hasMore: boolean };
  /** What was asked for by the button that led here. */
  action: PendingAction | undefined;
}

/** One guest. What changes while the page is open stands in parts marked `data-live`, which its script fetches anew. */
export function guestPage(view: View, facts: GuestPageFacts): Html {
  const { about, progress, action, detailed, jobs, snapshots } = facts;
  const { guest } = about;
  const state = stateText(about);
  const main = html`<header class="page"><h1>${guest}</h1>
<p id="state" data-live class="${progress ? '' : state.className}">${progress ? atWork(progress) : state.text}</p>
${buttons(view, guest, progress)}</header>
<div id="action" data-live aria-live="polite">${action && actionNote(action)}</div>
<div id="facts" data-live>${findingsOf(about)}${factsOf(about, view.now)}</div>
<section aria-labelledby="h-plots"><h2 id="h-plots">Over time</h2><div class="plots" id="plots" data-live>${guestPlots(facts.pauses, facts.sizes)}</div></section>
<section aria-labelledby="h-times"><h2 id="h-times">Where the time went</h2><div id="times" data-live>${timelines(detailed)}</div></section>
<section aria-labelledby="h-snapshots"><h2 id="h-snapshots">Snapshots</h2><div id="snapshots" data-live>${snapshotsTable(view, snapshots, about.unsound)}</div></section>
<section aria-labelledby="h-jobs"><h2 id="h-jobs">Jobs</h2><div id="jobs" data-live>${jobsTable(jobs.shown, view.now)}${pager(guest, jobs)}</div></section>`;
  return layout(view, guest, main);
}

function buttons({ formToken }: View, guest: string, progress: JobProgress | undefined): Html {
  if (formToken === null)
    return html`<p class="hint"><a href="/login">Log in</a> to take snapshots from here.</p>`;
  const cancel =
    progress &&
    html`<button class="danger" formaction="/jobs/${progress.job}/cancel">Cancel this ${progress.kind}</button>`;
  return html`<form method="post" action="/guests/${guest}/snapshot" class="buttons" id="buttons" data-live>${tokenField(formToken)}<button class="primary"${progress && html` disabled`}>Snapshot now</button>${cancel}</form>`;
}

export function actionNote({ what, outcome }: PendingAction): Html {
  const text = { underway: 'is under way', done: '', failed: 'failed:' }[outcome.is];
  const level = { underway: 'notice', done: 'well', failed: 'bad' }[outcome.is];
  return html`<p class="message ${level}">${what} ${text} ${'text' in outcome && outcome.text}</p>`;
}

function findingsOf({ findings }: GuestOverview): Html {
  return html`${findings.map(({ level, text }) => html`<p class="message ${level}">${text}</p>`)}`;
}

function factsOf({ newest, stores, config, promise, nextRun, lastPause }: GuestOverview, now: Date): Html {
  const newestText = newest && `${timeText(newest.takenAt)}, ${ageText(msSince(newest.takenAt, now))} ago`;
  const schedule = config.schedule === undefined ? 'by hand only' : `${config.schedule} (${config.timezone})`;
  const isPromised = promise && Number.isFinite(promise.intervalMs);
  const keep = Object.entries(config.keep)
    .map(([rule, value]) =>
      rule === 'withinMs' ? `within ${formatDuration(Number(value))}` : `${value} ${rule}`,
    )
    .join(', ');
  const rows: [string, string][] = [
    [
      'Last good snapshot',
      newest
        ? `${newestText}, ${levelText(newest.consistency, newest.dirtyKib)}, in ${stores.join(', ')}`
        : 'none',
    ],
    ['Promised', isPromised ? `one every ${ageText(promise.intervalMs)}` : 'nothing'],
    ['Schedule', schedule],
    [
      'Next run',
      nextRun ? (nextRun.isOverdue ? 'due now' : soonText(nextRun.at.toISOString(), now)) : 'by hand',
    ],
    [
      'Last pause',
      `${lastPause ? durationText(lastPause.pausedMs) : '–'} of ${durationText(config.pauseBudgetMs)} at most`,
    ],
    ['Keeps', keep === '' ? 'everything' : keep],
    ['Disks', config.disks.map(({ device, path }) => `${device} ${path}`).join(', ')],
  ];
  return html`<dl class="facts">${rows.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}

function pager(guest: string, { shown, offset, hasMore }: GuestPageFacts['jobs']): Html {
  const to = (target: number, text: string, rel: string) =>
    html`<a rel="${rel}" href="/guests/${guest}?jobs=${target}#h-jobs">${text}</a>`;
  return html`<p class="pager">${offset > 0 && to(Math.max(0, offset - jobsPerPage), 'Newer', 'prev')} ${shown.length > 0 && html`<span>${offset + 1} to ${offset + shown.length}</span>`} ${hasMore && to(offset + jobsPerPage, 'Older', 'next')}</p>`;
}

export const jobsPerPage = 30;
