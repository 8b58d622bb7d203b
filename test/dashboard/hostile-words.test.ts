import fc from 'fast-check';
import { expect, test } from 'vitest';
import { html } from '../../src/dashboard/html.js';
import { jobPage } from '../../src/dashboard/pages/job-page.js';
import { jobsTable } from '../../src/dashboard/pages/jobs-table.js';
import { snapshotsTable } from '../../src/dashboard/pages/snapshots-table.js';
import type { JobWithDetails } from '../../src/history/job-queries.js';
import { jobEnd, jobStart, phase, snapshot } from '../history/records-of-tests.js';

const quoted = `"><script>alert('1')</script>&amp;`;
const escaped = '&quot;&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;amp;';
const items = ['<', 1].map((item) => html`<li>${item}`);

test.each([
  [
    'whatever stands in it for text, in elements and in quoted attributes',
    html`<a title="${quoted}">${quoted}</a>`,
    `<a title="${escaped}">${escaped}</a>`,
  ],
  [
    'templates and lists of them as they are, and nothing for what is not there',
    html`<ul>${items}</ul>${null}${undefined}${false}${[['&'], 0]}`,
    '<ul><li>&lt;<li>1</ul>&amp;0',
  ],
  [
    'what can turn the text around it, or not be seen, for what it is',
    html`${'db\u202egnp.\u0000\u001b[31m\u200b'}`,
    'db\\u202egnp.\\u0000\\u001b[31m\\u200b',
  ],
])('a template takes %s', (_, drawn, expected) => {
  expect(drawn.toString()).toBe(expected);
});

test('a template lets no text become markup, whatever it is', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      expect(html`<b>${text}</b>`.toString()).not.toMatch(/^<b>.*[<>"'].*<\/b>$/s);
    }),
  );
});

const hostile = `"'><img src=x onerror=alert(1)></pre></script>\u202e`;
const view = { now: new Date(), hostName: hostile, formToken: 'f', isLoggedIn: true, refusedSince: null };
const error = { phase: hostile, code: hostile, message: hostile };
const job: JobWithDetails = {
  ...jobStart('a', { guest: 'debian' }),
  ...jobEnd({ status: 'failed', error, warnings: [hostile], summary: { [hostile]: hostile } }),
  phases: [phase(hostile, { facts: { [hostile]: hostile, list: [hostile] } })],
  pauses: [],
  log: [{ at: '2026-11-21T03:15:01.000Z', level: 'warn', text: hostile }],
};
const action = { id: 1, what: hostile, outcome: { is: 'failed', text: hostile } } as const;
const pageOf = (log = job.log) => jobPage(view, { job: { ...job, log }, progress: undefined, action });

test.each([
  ['of a job', () => pageOf()],
  ['of a list of jobs', () => jobsTable([job], view.now)],
  [
    'of a list of snapshots',
    () =>
      snapshotsTable(
        view,
        [snapshot('debian@x', { labels: { why: hostile }, method: hostile })],
        [{ snapshot: 'debian@x', store: 'local', soundness: { type: 'damaged', since: null, why: hostile } }],
      ),
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
