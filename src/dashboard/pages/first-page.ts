import { countText } from '../../error-text.js';
import { ageText, durationText, msSince, soonText } from '../format.js';
import { type GuestOverview, inOrder } from '../guest-overview.js';
import { type Html, html } from '../html.js';
import type { JobProgress } from '../live-feed.js';
import { recentJobs } from '../read-overview.js';
import { sparkLegend, sparkline } from '../sparkline.js';
import { layout, type View } from './layout.js';
import { atWork, stateText } from './state.js';

export type ProgressOf = (guest: string) => JobProgress | undefined;

/** All guests, the ones that need somebody first. */
export function firstPage(view: View, guests: GuestOverview[], progressOf: ProgressOf): Html {
  const rows = inOrder(guests).map((guest) => guestRow(guest, progressOf(guest.guest), view.now));
  const table = html`<div class="tools"><label for="find">Find a guest</label> <input id="find" type="search" hidden></div>
<table class="guests" id="guests"><caption class="unseen">Guests, the ones that need attention first</caption>
<thead><tr><th scope="col">Guest<th scope="col">Now<th scope="col">Last good snapshot<th scope="col">Consistency<th scope="col">Pause, of budget<th scope="col">Last ${recentJobs} backups<th scope="col">Next run</tr></thead>
<tbody>
${rows}</tbody></table>
${sparkLegend()}`;
  const empty = html`<p class="message">The config has no guests.</p>`;
  return layout(
    view,
    'Guests',
    html`<h1 class="unseen">Guests</h1>
${verdict(guests)}
${guests.length === 0 ? empty : table}`,
  );
}

/** What has changed on the first page, for its script. */
export function changedRows(
  guests: GuestOverview[],
  changed: ReadonlySet<string>,
  progressOf: ProgressOf,
  now: Date,
): Html {
  const rows = guests
    .filter(({ guest }) => changed.has(guest))
    .map((guest) => guestRow(guest, progressOf(guest.guest), now));
  return html`<!doctype html>${verdict(guests)}<table><tbody>${rows}</tbody></table>`;
}

const maxNamed = 6;

/** The one line that says whether all is well, and what is not. */
export function verdict(guests: GuestOverview[]): Html {
  const ofLevel = (level: string) =>
    inOrder(guests).filter(({ findings: [worst] }) => worst?.level === level);
  const [bad, notices] = [ofLevel('bad'), ofLevel('notice')];
  const all = guests.length === 1 ? 'The guest is' : `All ${guests.length} guests are`;
  const headline =
    bad.length === 0
      ? `${all} well${notices.length > 0 ? `, with ${countText(notices.length, 'note')}` : ''}.`
      : `${bad.length} of ${countText(guests.length, 'guest')} ${bad.length === 1 ? 'needs' : 'need'} attention.`;
  const named = bad.length > 0 ? bad : notices;
  const items = named
    .slice(0, maxNamed)
    .map(({ guest, findings }) => html`<li><a href="/guests/${guest}">${guest}</a> ${findings[0]?.text}`);
  const more = named.length > maxNamed && html`<li>and ${named.length - maxNamed} more, first in the table`;
  const level = bad.length > 0 ? 'bad' : notices.length > 0 ? 'notice' : 'well';
  return html`<section class="verdict ${level}" id="verdict" aria-label="Verdict"><p>${headline}</p>${items.length > 0 && html`<ul>${items}${more}</ul>`}</section>`;
}

/** Without the end tags that HTML lets one leave out: three hundred rows are a page of 150 KiB at most. */
function guestRow(about: GuestOverview, progress: JobProgress | undefined, now: Date): Html {
  const { guest, findings, recent, nextRun } = about;
  const worst = findings.find(({ isState }) => !isState);
  const finding = worst && html` <small class="${worst.level}">${worst.text}</small>`;
  return html`<tr id="g-${guest}"><th scope="row"><a href="/guests/${guest}">${guest}</a>${finding}${stateCell(about, progress)}${snapshotCell(about, now)}<td>${about.newest?.consistency ?? '–'}${pauseCell(about)}<td>${sparkline(
    recent.slice(-recentJobs).map(({ status }) => status),
    recentJobs,
  )}<td>${nextRun ? (nextRun.isOverdue ? 'due now' : soonText(nextRun.at.toISOString(), now)) : 'by hand'}
`;
}

function stateCell(about: GuestOverview, progress: JobProgress | undefined): Html {
  if (progress) return html`<td>${atWork(progress)}`;
  const { className, text } = stateText(about);
  return html`<td class="${className}">${text}`;
}

function snapshotCell({ newest, promise, isLate }: GuestOverview, now: Date): Html {
  if (!newest) return html`<td>none`;
  const age = ageText(msSince(newest.takenAt, now));
  const isPromised = promise && Number.isFinite(promise.intervalMs);
  return html`<td${isLate && html` class="late"`}>${age}${isPromised && html` <i>of ${ageText(promise.intervalMs)}</i>`}`;
}

function pauseCell({ lastPause }: GuestOverview): Html {
  if (!lastPause) return html`<td>–`;
  const { pausedMs, budgetMs } = lastPause;
  return html`<td${pausedMs > budgetMs && html` class="late"`}>${durationText(pausedMs)} <i>of ${durationText(budgetMs)}</i>`;
}
