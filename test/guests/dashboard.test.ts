import type { Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { desktop, startBrowser, type TestBrowser, withPage } from '../dashboard/browser.js';
import { DashboardOfTests } from '../dashboard/daemon-of-tests.js';
import { drillKernel } from '../support/drill-kernel.js';
import { bootedLine } from '../support/guest-image.js';
import { holdNextPause, resumeHeld, untilHeldInPause } from '../support/held-job.js';
import { setScene } from '../support/scene.js';
import { waitFor } from '../support/wait-for.js';

/** The dashboard of a real daemon with a real guest, in a real browser. */

const scene = setScene({ on: 'xfs', proxied: true });
let dashboard: DashboardOfTests;
let chromium: TestBrowser;
beforeAll(async () => {
  const kernel = await drillKernel(scene.dir);
  const drill = { kernel, memory: '96MiB', expect: bootedLine, hold: '1s', timeout: '90s' };
  await scene.configure(undefined, { drill, dashboard: { listen: '127.0.0.1:0' } });
  dashboard = await DashboardOfTests.start(scene);
  chromium = await startBrowser();
});
afterAll(async () => {
  await chromium?.close();
  await dashboard?.daemon.end();
  await scene.expectWell();
});

/** Of the guest's page, each in a context of its own, with a session of its own. */
const visit = (use: (page: Page) => Promise<void>) =>
  withPage(chromium.browser, { viewport: desktop }, async (page, context) => {
    await page.goto(`${await dashboard.logInBrowser(context)}guests/debian`);
    await use(page);
  });

test('snapshot now backs the guest up, shows how far it is while it goes on, and lists the snapshot at its end', async () => {
  await visit(async (page) => {
    await waitFor('the guest to be seen running', async () => {
      await page.reload();
      return (await page.locator('#state').textContent()) === 'runs';
    });
    await holdNextPause(scene.proxy);
    await page.click('text=Snapshot now');
    await page.waitForURL('**/guests/debian?action=*');
    await page.locator('#action:has-text("is under way")').waitFor();
    await page.locator('#state .work:has-text("backup")').waitFor();
    await untilHeldInPause(scene.proxy);
    await resumeHeld(scene.proxy);
    await page.locator('#snapshots tbody tr').waitFor();
    await page.locator('#state:text-is("runs")').waitFor();
    await page.locator('#action .message.well:has-text("A snapshot of debian")').waitFor();
    expect(await scene.listed()).toMatchObject([{ manifest: { guest: 'debian' } }]);
    expect(await scene.newestJob('debian')).toMatchObject({ trigger: 'request', kind: 'backup' });
    // What the pages show of it: the pause is marked, and shown through a lens.
    await page.click('#times tbody a');
    await page.locator('svg.lens rect.still').waitFor();
    expect(await page.locator('svg.lens').getAttribute('aria-label')).toMatch(/the guest stands still for/);
  });
});

test('snapshot now can be cancelled, by another viewer too, and the guest runs on', async () => {
  await visit(async (page) => {
    await holdNextPause(scene.proxy);
    await page.click('text=Snapshot now');
    await untilHeldInPause(scene.proxy);
    await visit(async (other) => {
      await other.click('text=Cancel this backup');
      await other.waitForURL('**/jobs/*');
    });
    await resumeHeld(scene.proxy);
    await page.locator('#action:has-text("Interrupted by the dashboard")').waitFor();
    expect(await scene.newestJob('debian')).toMatchObject({ status: 'interrupted' });
  });
});

test('a snapshot is pinned, unpinned, verified and booted in a drill by its buttons, and the page says that it passed', async () => {
  await visit(async (page) => {
    await page.click('#snapshots button:text-is("Pin")');
    await page.locator('#snapshots .pin').waitFor();
    expect(await scene.listed()).toMatchObject([{ manifest: { pinned: true } }]);
    await page.click('#snapshots button:text-is("Unpin")');
    await page.locator('#snapshots button:text-is("Pin")').waitFor();
    await page.click('#snapshots button:text-is("Verify")');
    await page.locator('#action:has-text("A verification of")').waitFor();
    await page.locator('#action .message.well').waitFor();
    expect(await scene.newestJob('debian')).toMatchObject({ kind: 'verify', status: 'success' });

    await page.click('#snapshots button:text-is("Drill")');
    await page.locator('#action:has-text("A drill of")').waitFor();
    await page.locator('#action .message.well').waitFor({ timeout: 120_000 });
    expect(await scene.newestJob('debian')).toMatchObject({ kind: 'drill', status: 'success' });
  });
});

test('whoever looks finds in the metrics what has happened', async () => {
  const { body } = await dashboard.ask('/metrics', { bySocket: true });
  const values = Object.fromEntries(body.split('\n').map((line) => line.split(/ (?=\S+$)/)));
  expect(values).toMatchObject({
    'umlsnap_jobs_total{guest="debian",kind="backup",status="success"}': '1',
    'umlsnap_jobs_total{guest="debian",kind="backup",status="interrupted"}': '1',
    'umlsnap_jobs_total{guest="debian",kind="backup",status="failed"}': '0',
    'umlsnap_paused{guest="debian"}': '0',
  });
  expect(Number(values['umlsnap_pause_seconds_count{guest="debian"}'])).toBeGreaterThanOrEqual(1);
  expect(Number(values['umlsnap_store_free_bytes{store="local"}'])).toBeGreaterThan(0);
});
