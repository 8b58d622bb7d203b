import { describe, expect, test } from 'vitest';
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

describe("a guest's words on a page", () => {
  test.each([
    [
      'of a job',
      () =>
        jobPage(view, {
          job,
          progress: undefined,
          errand: { id: 1, what: hostile, outcome: { is: 'failed', text: hostile } },
        }),
    ],
    ['of a list of jobs', () => jobsTable([job], view.now)],
    [
      'of a list of snapshots',
      () => snapshotsTable(view, [snapshot('debian@x', { labels: { why: hostile }, method: hostile })]),
    ],
  ])('are words and no markup: %s', (_, render) => {
    const page = render().toString();
    expect(page).toContain('&lt;img src=x onerror=alert(1)&gt;');
    expect(page).not.toMatch(/<img|<\/pre><\/script>|\u202e/);
    expect(page).not.toMatch(/="[^"]*"'>/);
  });

  test("are in a job's log with their time and level, and are words there as well", () => {
    const page = jobPage(view, { job, progress: undefined, errand: undefined }).toString();
    expect(page).toMatch(/<h2 id="h-log">Log<[\s\S]*03:15:01\.000<\/time><td>warn<td class="why">&quot;/);
    const silent = jobPage(view, { job: { ...job, log: [] }, progress: undefined, errand: undefined });
    expect(silent.toString()).not.toContain('h-log');
  });
});
