import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { desktop, startBrowser, type TestBrowser, withPage } from '../dashboard/browser.js';
import { DashboardOfTests } from '../dashboard/daemon-of-tests.js';
import { drillKernel } from '../support/drill-kernel.js';
import { bootedLine } from '../support/guest-image.js';
import { holdNextPause, resumeHeld, untilHeldInPause } from '../support/held-job.js';
import { type MconsoleProxy, startMconsoleProxy } from '../support/mconsole-proxy.js';
import type { RealGuest } from '../support/real-guest.js';
import { settingsOf, TestHouse } from '../support/test-house.js';
import { waitFor } from '../support/wait-for.js';

/** The dashboard of a real daemon with a real guest, in a real browser. */

let house: TestHouse;
let guest: RealGuest;
let proxy: MconsoleProxy;
let dashboard: DashboardOfTests;
let chromium: TestBrowser;
beforeAll(async () => {
  house = await TestHouse.build();
  guest = await house.boot();
  proxy = await startMconsoleProxy({ listenPath: `${house.dir}/p`, guestSocketPath: guest.socketPath });
  const one = settingsOf(guest, { mconsole: proxy.socketPath });
  const kernel = await drillKernel(house.dir);
  const drill = { kernel, memory: '96MiB', expect: bootedLine, hold: '1s', timeout: '90s' };
  await house.configure({ one }, { drill, dashboard: { listen: '127.0.0.1:0' } });
  dashboard = await DashboardOfTests.start(house);
  chromium = await startBrowser();
});
afterAll(async () => {
  await chromium?.close();
  try {
    await dashboard?.daemon.end();
    await house.expectAllWell();
  } finally {
    await proxy?.close();
    await house.remove();
  }
});

/** Each in a context of its own, logged in by a link. */
const visit = (use: Parameters<typeof withPage<void>>[2]) =>
  withPage(chromium.browser, { viewport: desktop }, async (page, context) => {
    await page.goto(await dashboard.loginUrl());
    await use(page, context);
  });

describe('snapshot now', () => {
  test('backs the guest up, shows how far it is while it goes on, and lists the snapshot at its end', async () => {
    await visit(async (page) => {
      await waitFor('the guest to be seen running', async () => {
        await page.goto(`${dashboard.url.href}guests/one`);
        return (await page.locator('#state').textContent()) === 'runs';
      });
      await holdNextPause(proxy);
      await page.click('text=Snapshot now');
      await page.waitForURL('**/guests/one?errand=*');
      await page.locator('#errand:has-text("is under way")').waitFor();
      await page.locator('#state .work:has-text("backup")').waitFor();
      await untilHeldInPause(proxy);
      await resumeHeld(proxy);
      await page.locator('#snapshots tbody tr').waitFor();
      await page.locator('#state:text-is("runs")').waitFor();
      await page.locator('#errand .message.well:has-text("A snapshot of one")').waitFor();
      expect(await house.listed()).toMatchObject([{ guest: 'one', state: 'sound' }]);
      expect(await house.newestJob('one')).toMatchObject({ trigger: 'request', kind: 'backup' });
      // What the pages show of it: the pause is marked, and shown through a lens.
      await page.click('#times tbody a');
      await page.locator('svg.lens rect.still').waitFor();
      expect(await page.locator('svg.lens').getAttribute('aria-label')).toMatch(/the guest stands still for/);
    });
  });

  test('can be cancelled, by another viewer too, and the guest runs on', async () => {
    await visit(async (page) => {
      await page.goto(`${dashboard.url.href}guests/one`);
      await holdNextPause(proxy);
      await page.click('text=Snapshot now');
      await untilHeldInPause(proxy);
      await visit(async (other) => {
        await other.goto(`${dashboard.url.href}guests/one`);
        await other.click('text=Cancel this backup');
        await other.waitForURL('**/jobs/*');
      });
      await resumeHeld(proxy);
      await page.locator('#errand:has-text("Interrupted by the dashboard")').waitFor();
      expect(await house.newestJob('one')).toMatchObject({ status: 'interrupted' });
    });
  });
});

describe('a snapshot', () => {
  test('is pinned, unpinned and verified by its buttons', async () => {
    await visit(async (page) => {
      await page.goto(`${dashboard.url.href}guests/one`);
      await page.click('#snapshots button:text-is("Pin")');
      await page.locator('#snapshots .pin').waitFor();
      const [{ snapshot } = { snapshot: '' }] = await house.listed();
      expect((await house.run(['show', snapshot])).stdout).toMatch(/pinned +yes/);
      await page.click('#snapshots button:text-is("Unpin")');
      await page.locator('#snapshots button:text-is("Pin")').waitFor();
      await page.click('#snapshots button:text-is("Verify")');
      await page.locator('#errand:has-text("A verification of")').waitFor();
      await page.locator('#errand .message.well').waitFor();
      expect(await house.newestJob('one')).toMatchObject({ kind: 'verify', status: 'success' });
    });
  });

  test('is booted in a drill by its button, and the page says that it passed', async () => {
    await visit(async (page) => {
      await page.goto(`${dashboard.url.href}guests/one`);
      await page.click('#snapshots button:text-is("Drill")');
      await page.locator('#errand:has-text("A drill of")').waitFor();
      await page.locator('#errand .message.well').waitFor({ timeout: 120_000 });
      expect(await house.newestJob('one')).toMatchObject({ kind: 'drill', status: 'success' });
    });
  }, 150_000);
});

describe('whoever looks', () => {
  test('finds in the metrics what has happened', async () => {
    const { body } = await dashboard.ask('/metrics', { bySocket: true });
    const sampleOf = (metric: string) => Number(new RegExp(`^${metric} (.*)$`, 'm').exec(body)?.[1]);
    const { listed, jobs } = { listed: await house.listed(), jobs: await house.jobs('one') };
    expect(sampleOf('umlsnap_jobs_total\\{guest="one",kind="backup",status="interrupted"\\}')).toBe(1);
    const ended = jobs.filter(({ kind }) => kind === 'backup').length;
    const counts = [
      ...body.matchAll(/^umlsnap_jobs_total\{guest="one",kind="backup",status="\w+"\} (\d+)$/gm),
    ];
    expect(counts.reduce((sum, [, count]) => sum + Number(count), 0)).toBe(ended);
    expect(sampleOf('umlsnap_pause_seconds_count\\{guest="one"\\}')).toBeGreaterThanOrEqual(listed.length);
    expect(sampleOf('umlsnap_paused\\{guest="one"\\}')).toBe(0);
    expect(sampleOf('umlsnap_last_success_timestamp_seconds\\{guest="one"\\}') * 1000).toBeGreaterThan(
      Date.now() - 600_000,
    );
    expect(sampleOf('umlsnap_store_free_bytes\\{store="local"\\}')).toBeGreaterThan(0);
  });
});
