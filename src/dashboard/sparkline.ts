import type { JobStatus } from '../history/records.js';
import { type Html, html } from './html.js';

/** Jobs as a row of marks, each status a shape of its own, so that no colour is needed to tell them apart. */

const pitch = 4;
const heightPx = 14;

interface Mark {
  className: string;
  /** The mark of one job, at its left edge; or of a run of them, as a line that its class dashes. */
  path(x: number, count: number): string;
  /** Whether one path stands for neighbours, which keeps a page of hundreds of rows small. */
  joins: boolean;
  ariaLabel: string;
}

const line = (y: number) => (x: number, count: number) => `M${x} ${y}h${count * pitch - 1}`;
const each = (draw: (x: number) => string) => (x: number, count: number) =>
  Array.from({ length: count }, (_, index) => draw(x + index * pitch)).join('');

const marks: Record<JobStatus, Mark> = {
  success: { className: 's', path: line(7), joins: true, ariaLabel: 'good' },
  warning: { className: 'w', path: line(10), joins: true, ariaLabel: 'with warnings' },
  failed: { className: 'f', path: each((x) => `M${x} 3l3 8m0-8l-3 8`), joins: false, ariaLabel: 'failed' },
  interrupted: {
    className: 'i',
    path: each((x) => `M${x + 1.5} 2v5m0 3v2`),
    joins: false,
    ariaLabel: 'interrupted',
  },
  skipped: { className: 'k', path: line(12), joins: true, ariaLabel: 'skipped' },
  running: {
    className: 'r',
    path: each((x) => `M${x + 0.5} 2.5h2v9h-2z`),
    joins: false,
    ariaLabel: 'running',
  },
};

/** Oldest first; the newest stands at the right edge of room for `room` of them. */
export function sparkline(statuses: readonly JobStatus[], room: number): Html {
  const offset = (room - statuses.length) * pitch;
  const paths = new Map<JobStatus, string>();
  for (let index = 0; index < statuses.length; ) {
    const status = statuses[index];
    if (status === undefined) break;
    let count = 1;
    while (statuses[index + count] === status) count++;
    paths.set(status, (paths.get(status) ?? '') + marks[status].path(offset + index * pitch, count));
    index += count;
  }
  const drawn = [...paths].map(
    ([status, path]) => html`<path class="${marks[status].className}" d="${path}"/>`,
  );
  const size = { width: room * pitch, height: heightPx };
  return html`<svg class="k" role="img" aria-label="${sparkText(statuses)}" viewBox="0 0 ${size.width} ${size.height}">${drawn}</svg>`;
}

/** `30 good`, `28 good, 2 failed, newest good` */
export function sparkText(statuses: readonly JobStatus[]): string {
  if (statuses.length === 0) return 'none yet';
  const counts = Object.entries(marks).flatMap(([status, { ariaLabel }]) => {
    const count = statuses.filter((one) => one === status).length;
    return count === 0 ? [] : [`${count} ${ariaLabel}`];
  });
  return counts.join(', ');
}

/** What each mark means, for a legend. */
export function sparkLegend(): Html {
  const one = (status: JobStatus) =>
    html`<li><svg class="k" aria-hidden="true" viewBox="-1 0 5 ${heightPx}"><path class="${marks[status].className}" d="${marks[status].path(0, 1)}"/></svg> ${marks[status].ariaLabel}`;
  return html`<ul class="legend">${(Object.keys(marks) as JobStatus[]).map(one)}</ul>`;
}
