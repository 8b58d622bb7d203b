import { type JobRecord, unknownPhase } from '../../history/records.js';
import { ageText, durationText, msSince, timeText, triggerText } from '../format.js';
import { type Html, html } from '../html.js';

/** Jobs, each with how it ended. */
export function jobsTable(jobs: JobRecord[], now: Date): Html {
  if (jobs.length === 0) return html`<p class="hint">There is none yet.</p>`;
  const rows = jobs.map((job) => {
    const { startedAt, finishedAt, kind, trigger, status, error, warnings } = job;
    const took = finishedAt === null ? '–' : durationText(Date.parse(finishedAt) - Date.parse(startedAt));
    const where = error === null || error.phase === unknownPhase ? '' : `${error.phase}: `;
    const why = error ? `${where}${error.message}` : warnings.join('; ');
    return html`<tr><th scope="row"><a href="/jobs/${job.job}">${timeText(startedAt)} <i>${ageText(msSince(startedAt, now))}</i></a><td>${kind}<td>${triggerText[trigger]}<td>${statusMark(status)}<td class="figure">${took}<td class="why">${shortened(why)}</tr>`;
  });
  return html`<div class="scroll" role="region" aria-label="Jobs, a table" tabindex="0"><table class="list"><thead><tr><th scope="col">Began<th scope="col">Kind<th scope="col">By<th scope="col">Came to<th scope="col" class="figure">Took<th scope="col">Why</tr></thead><tbody>${rows}</tbody></table></div>`;
}

/** A status, with a shape of its own by its class. */
export const statusMark = (status: string): Html => html`<span class="status ${status}">${status}</span>`;

const maxChars = 160;
const shortened = (text: string) => (text.length <= maxChars ? text : `${text.slice(0, maxChars)}…`);
