import { sizeText } from '../format.js';
import type { GuestOverview } from '../guest-overview.js';
import { type Html, html } from '../html.js';
import type { JobProgress } from '../live-feed.js';

const states: Record<string, { className: string; text: string }> = {
  running: { className: 'run', text: 'runs' },
  stopped: { className: 'stop', text: 'stands still' },
  notRunning: { className: 'off', text: 'does not run' },
  unreachable: { className: 'mute', text: 'does not answer' },
  unknown: { className: 'run', text: 'answers' },
};

/** How a guest is now, as a shape (by its class) and in words. */
export function stateText({ seen, openPause }: Pick<GuestOverview, 'seen' | 'openPause'>): {
  className: string;
  text: string;
} {
  if (openPause) return { className: 'stop', text: 'in a pause' };
  return states[seen?.state ?? ''] ?? { className: 'unseen-yet', text: 'not looked at' };
}

/** A job that is under way; its script keeps it up to date by the job's name. */
export function atWork({ job, kind, phase, doneBytes, totalBytes }: JobProgress): Html {
  const isCounted = doneBytes !== null && totalBytes !== null && totalBytes > 0;
  const bar = isCounted
    ? html`<progress max="${totalBytes}" value="${doneBytes}" aria-label="Copied"></progress>`
    : html`<progress max="1" value="0" aria-label="Copied" hidden></progress>`;
  const figures = isCounted ? `${sizeText(doneBytes)} of ${sizeText(totalBytes)}` : '';
  return html`<span class="work" data-job="${job}"><a href="/jobs/${job}">${kind}</a> <span class="phase">${phase ?? 'begins'}</span> ${bar} <span class="figures">${figures}</span></span>`;
}
