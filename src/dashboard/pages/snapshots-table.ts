import { levelText } from '../../history/levels.js';
import type { SnapshotRecord } from '../../history/records.js';
import { adviceFor, type UnsoundCopy, unsoundWord } from '../../store/soundness.js';
import { ageText, durationText, msSince, sizeText, timeText } from '../format.js';
import { groupBy } from '../group-by.js';
import { type Html, html } from '../html.js';
import { tokenField, type View } from './layout.js';

/** A copy of a snapshot; what it takes is null where it shares that with others. */
export type ShownSnapshot = Omit<SnapshotRecord, 'storedBytes'> & { storedBytes: number | null };

/** The snapshots of a guest that are there, with what can be done to them. */
export function snapshotsTable(
  { formToken, now }: View,
  snapshots: ShownSnapshot[],
  unsound: readonly UnsoundCopy[],
): Html {
  if (snapshots.length === 0) return html`<p class="hint">There is none yet.</p>`;
  const rows = [
    ...groupBy(snapshots, ({ snapshot, own, owner }) => `${snapshot} ${own || owner?.id}`).values(),
  ].map((copies) => row(copies, unsound, formToken !== null, now));
  const table = html`<div class="scroll" role="region" aria-label="Snapshots, a table" tabindex="0"><table class="list"><thead><tr><th scope="col">Taken<th scope="col">Consistency<th scope="col" class="figure">Pause<th scope="col" class="figure">Size<th scope="col" class="figure">Stored<th scope="col">By<th scope="col">In<th scope="col">Labels${formToken !== null && html`<th scope="col"><span class="unseen">What to do</span>`}</tr></thead><tbody>${rows}</tbody></table></div>`;
  return formToken === null ? table : html`<form method="post">${tokenField(formToken)}${table}</form>`;
}

function row(copies: ShownSnapshot[], unsound: readonly UnsoundCopy[], hasButtons: boolean, now: Date): Html {
  const [first] = copies;
  if (!first) return html``;
  const { snapshot, takenAt, consistency, dirtyKib, pausedMs, sizeBytes, method } = first;
  const labels = Object.entries(first.labels).map(
    ([name, value]) => html`<span class="label">${name}=${value}</span> `,
  );
  const taken = html`<span title="${snapshot}">${timeText(takenAt)}</span> <i>${ageText(msSince(takenAt, now))}</i>`;
  const name = first.job === null ? taken : html`<a href="/jobs/${first.job}">${taken}</a>`;
  const stored = copies.map(({ storedBytes }) => (storedBytes === null ? '–' : sizeText(storedBytes)));
  const owner =
    !first.own && html` <b class="of">${first.owner ? `of host ${first.owner.host}` : 'of nobody known'}</b>`;
  return html`<tr><th scope="row">${name}${first.pinned && html` <b class="pin">pinned</b>`}${owner}<td>${levelText(consistency, dirtyKib)}<td class="figure">${durationText(pausedMs)}<td class="figure">${sizeText(sizeBytes)}<td class="figure">${stored.join(', ')}<td>${method}<td>${whereText(copies, unsound)}<td>${labels}${hasButtons && buttons(first)}</tr>`;
}

/** The stores that have it; of a copy that is not sound, why, and what is to be done. */
function whereText(copies: ShownSnapshot[], unsound: readonly UnsoundCopy[]): Html {
  const judged = copies.map(({ store, snapshot }) => {
    const bad = unsound.find((one) => one.store === store && one.snapshot === snapshot);
    return { store, soundness: bad?.soundness ?? ({ type: 'sound' } as const) };
  });
  const marked = judged.map(({ store, soundness }, index) => {
    const mark =
      soundness.type !== 'sound' &&
      html` <small class="bad" title="${soundness.why}">${unsoundWord[soundness.type]}</small>`;
    return html`${index > 0 && ', '}${store}${mark}`;
  });
  const advice = adviceFor(copies[0]?.snapshot ?? '', judged);
  return html`${marked}${advice !== null && html`<br><i>${advice}</i>`}`;
}

function buttons({ snapshot, pinned, own }: ShownSnapshot): Html {
  const one = (verb: string, text: string) =>
    html`<button class="small" formaction="/snapshots/${snapshot}/${verb}" aria-label="${text} ${snapshot}">${text}</button>`;
  return html`<td class="doing">${one('verify', 'Verify')}${one('drill', 'Drill')}${own && (pinned ? one('unpin', 'Unpin') : one('pin', 'Pin'))}`;
}
