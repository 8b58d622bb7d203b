import { expect, test } from 'vitest';
import { jobPage } from '../../src/dashboard/pages/job-page.js';
import { jobsTable } from '../../src/dashboard/pages/jobs-table.js';
import { snapshotsTable } from '../../src/dashboard/pages/snapshots-table.js';
import type { JobWithDetails } from '../../src/history/job-queries.js';
import { jobEnd, jobStart, phase, snapshot } from '../history/records-of-tests.js';

const hostile = `"'><img src=x onerror=alert(1)></pre></script>\u202e`;
const view = { now: new Date(), hostName: hostile, formToken: 'f', isLoggedIn: true };
const error = { phase: hostile, code: hostile, message: hostile };
const job: JobWithDetails = {
  ...jobStart('a', { guest: 'debian' }),
  ...jobEnd({ status: 'failed', error, warnings: [hostile], summary: { [hostile]: hostile } }),
  phases: [phase(hostile, { facts: { [hostile]: hostile, list: [hostile] } })],
  pauses: [],
  log: [{ at: '2026-11-21T03:15:01.000Z', level: 'warn', text: hostile }],
};
const errand = { id: 1, what: hostile, outcome: { is: 'failed', text: hostile } } as const;
const pageOf = (log = job.log) => jobPage(view, { job: { ...job, log }, progress: undefined, errand });

test.each([
  ['of a job', () => pageOf()],
  ['of a list of jobs', () => jobsTable([job], view.now)],
  [
    'of a list of snapshots',
    () => snapshotsTable(view, [snapshot('debian@x', { labels: { why: hostile }, method: hostile })]),
  ],
])("a guest's words on a page are words and no markup: %s", (_, render) => {
  const page = render().toString();
  expect(page).toContain('&lt;img src=x onerror=alert(1)&gt;');
  expect(page).not.toMatch(/<img|<\/pre><\/script>|\u202e/);
  expect(page).not.toMatch(/="[^"]*"'>/);
});

test("they are in a job's log with their time and level, where it has one", () => {
  const withLog = /<h2 id="h-log">Log<[\s\S]*03:15:01\.000<\/time><td>warn<td class="why">&quot;/;
  expect(pageOf().toString()).toMatch(withLog);
  expect(pageOf([]).toString()).not.toContain('h-log');
});
