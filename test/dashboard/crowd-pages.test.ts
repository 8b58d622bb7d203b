import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { BrowserContextOptions, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';
import {
  accessibilityProblems,
  complaintsOf,
  desktop,
  phone,
  startBrowser,
  type TestBrowser,
  withPage,
} from './browser.js';
import { type Crowd, failing, late, makeCrowd, withoutSnapshot } from './crowd.js';
import { DashboardOfTests, formTokenIn, type Login, loginIn } from './daemon-of-tests.js';
import { withListener } from './stranger.js';

/** A daemon with 300 guests and a long history: who gets to see it, and how it looks in a browser. */

let dir: string;
let crowd: Crowd;
let dashboard: DashboardOfTests;
let session: Login;
beforeAll(async () => {
  dir = await makeTempDir();
  crowd = await makeCrowd(dir, { guests: 300, jobsPerGuest: 20, jobsWithPhases: 5 });
  dashboard = await DashboardOfTests.start(crowd);
  session = await dashboard.logIn();
}, 120_000);
afterAll(async () => {
  await dashboard?.daemon.end();
  await removeTempDir(dir);
});

const named = (index: number) => crowd.names[index] ?? '';
const read = (path: string, { cookie, path: below } = session) =>
  dashboard.ask(below + path, { headers: { cookie } });

describe('whoever gets to the port', () => {
  test('sees nothing without a login, and is told how to get one', async () => {
    for (const path of ['/', '/guests/web-001', '/jobs/x', '/rows', '/events', '/metrics']) {
      const { status, body } = await dashboard.ask(path, { headers: { accept: 'text/html' } });
      expect({ path, status }).toEqual({ path, status: 401 });
      expect(body).toContain('umlsnap ctl dashboard');
      expect(body).not.toContain('web-001');
    }
  });

  test('logs in by a link of the command, once, for a cookie that no script and no other site gets', async () => {
    const { pathname, search } = new URL(await dashboard.loginUrl());
    const { status, headers } = await dashboard.ask(pathname + search);
    expect(status).toBe(303);
    const attributes = /; Path=\/s\/[\w-]{22}\/; HttpOnly; SameSite=Strict; Max-Age=604800$/;
    expect(String(headers['set-cookie'])).toMatch(attributes);
    expect(await dashboard.ask(pathname + search)).toMatchObject({ status: 401 });
    const made = loginIn(headers);
    expect(await read('', made)).toMatchObject({ status: 200 });
    // Neither the path nor the cookie is worth anything alone, or with that of another session.
    for (const { cookie, path } of [
      { ...made, cookie: '' },
      { ...made, path: '/' },
      { ...made, path: session.path },
    ])
      expect(await read('', { cookie, path })).toMatchObject({ status: 401 });
  });

  test('logs in by the token of the file, and by no other; with that for Prometheus it gets the metrics, and nothing else', async () => {
    const token = (await readFile(join(crowd.state, 'dashboard.token'), 'utf8')).trim();
    const scrapeToken = (await dashboard.ctl('dashboard', 'token')).stdout.trim();
    expect((await dashboard.ctl('dashboard', '--json')).json).toMatchObject([{ scrapeToken }]);
    const logIn = async (with_: string) => (await dashboard.press('/login', { token: with_ })).status;
    expect(await logIn(token)).toBe(303);
    for (const wrong of ['', `${token}x`, scrapeToken]) expect(await logIn(wrong)).toBe(401);
    const headers = { authorization: `Bearer ${scrapeToken}` };
    expect(await dashboard.ask('/metrics', { headers })).toMatchObject({ status: 200 });
    expect(await dashboard.ask('/', { headers })).toMatchObject({ status: 403 });
    const pressed = await dashboard.press('/guests/web-001/snapshot', {}, { headers });
    expect(pressed.status).toBe(403);
  });

  test('is refused under a name that is not ours, also with a cookie, and on the socket', async () => {
    const headers = { cookie: session.cookie, host: 'evil.example' };
    expect(await dashboard.ask(session.path, { headers })).toMatchObject({ status: 421 });
    for (const path of ['/', '/status'])
      expect(await dashboard.ask(path, { headers, bySocket: true })).toMatchObject({ status: 400 });
  });

  test('is not logged in by the name localhost, which is another user’s at ::1: no cookie is made there, and none is taken', async () => {
    const { pathname, search } = new URL(await dashboard.loginUrl());
    for (const host of ['localhost', 'LOCALHOST:8460', 'x.localhost']) {
      const headers = { host, cookie: session.cookie };
      expect(await dashboard.ask(pathname + search, { headers })).toMatchObject({ status: 421 });
      expect(await dashboard.press('/login', { token: 'x' }, { headers })).toMatchObject({ status: 421 });
      expect(await dashboard.ask(session.path, { headers })).toMatchObject({ status: 401 });
    }
    expect(await dashboard.ask(pathname + search)).toMatchObject({ status: 303 });
  });

  test('gets every answer with a policy that allows nothing from elsewhere', async () => {
    const answers = [await read(''), await dashboard.ask('/login'), await read('guests/none')];
    for (const { headers, body } of answers) {
      expect(headers).toMatchObject({
        'content-security-policy': expect.stringMatching(/^default-src 'none'; .*frame-ancestors 'none'$/),
        ...{ 'x-content-type-options': 'nosniff', 'cache-control': 'no-store' },
      });
      expect(body).not.toMatch(/<[^>]*\s(?:style|on\w+)=|<script>|<style/);
      expect(body).not.toMatch(/(?:src|href|action)="(?:https?:)?\/\//);
    }
  });
});

describe('the first page', () => {
  const rowsIn = (body: string) => [...body.matchAll(/<tr id="g-([^"]+)">/g)].map(([, name]) => name);

  test('says what is not well, the worst first, in less than 150 KiB for 300 guests', async () => {
    const { body } = await read('');
    expect(Buffer.byteLength(body)).toBeLessThan(150 * 1024);
    expect(body).toContain('3 of 300 guests need attention.');
    const rows = rowsIn(body);
    expect(rows).toHaveLength(300);
    expect(new Set(rows.slice(0, 3))).toEqual(new Set([failing, late, withoutSnapshot].map(named)));
    const rowOf = (index: number) => new RegExp(`<tr id="g-${named(index)}">.*`).exec(body)?.[0] ?? '';
    expect(rowOf(late)).toMatch(/late by \d+ h/);
    expect(rowOf(failing)).toContain('last backup failed');
    expect(rowOf(withoutSnapshot)).toContain('<td>none');
    const well = /\d+ h <i>of 24 h<\/i>.*(frozen|synced).*ms <i>of 5 s<\/i>.*aria-label="\d+ good/;
    expect(rowOf(0)).toMatch(well);
  });

  test('is asked for again in parts by its script', async () => {
    const { body } = await read('rows?guest=web-001&guest=db-002&guest=nobody');
    expect(rowsIn(body).sort()).toEqual(['db-002', 'web-001']);
    expect(body).toContain('id="verdict"');
  });
});

describe('a button', () => {
  type Fields = Record<string, string>;
  const press = (fields: Fields, headers: Fields) =>
    dashboard.press(`${session.path}guests/web-001/snapshot`, fields, { headers });
  const formOf = async () => formTokenIn(await read('guests/web-001'));

  /** What the page that an answer leads to says, once that is done. */
  async function outcomeAt(
    { headers }: { headers: object },
    ask: (path: string) => Promise<{ body: string }>,
  ) {
    const said = async () => (await ask((headers as { location: string }).location)).body;
    await waitFor('the action to end', async () => !(await said()).includes('is under way'));
    return await said();
  }

  test('does nothing without the token of a form, or with that of another session', async () => {
    const { cookie } = session;
    const other = await dashboard.logIn();
    const [form, othersForm] = [await formOf(), formTokenIn(await read('guests/web-001', other))];
    expect(form).not.toBe('');
    const jobs = async () => (await read('guests/web-001')).body.match(/href="\S*\/jobs\//g)?.length;
    const before = await jobs();
    const refused: [Fields, Fields][] = [
      [{}, { cookie }],
      [{ form: 'x' }, { cookie }],
      [{ form: othersForm }, { cookie }],
      [{ form }, { cookie, origin: 'http://evil.example' }],
      [{ form }, { cookie, 'sec-fetch-site': 'cross-site' }],
    ];
    for (const given of refused) expect((await press(...given)).status).toBe(403);
    for (const headers of [{}, { cookie: other.cookie }])
      expect((await press({ form }, headers)).status).toBe(401);
    expect(await jobs()).toBe(before);
  });

  test('does what it says, and the next page tells what it came to', async () => {
    const { cookie } = session;
    const pressed = await press({ form: await formOf() }, { cookie, origin: dashboard.url.origin });
    expect(pressed.status).toBe(303);
    const failed = /A snapshot of web-001 failed: .*no management console/;
    const ask = (path: string) => dashboard.ask(path, { headers: { cookie } });
    expect(await outcomeAt(pressed, ask)).toMatch(failed);
  });

  test('works on the socket without a login, and not for a page of another site', async () => {
    const bySocket = (path: string) => dashboard.ask(path, { bySocket: true });
    const snapshot = 'web-001@20200101T000000Z';
    const form = formTokenIn(await bySocket('/guests/web-001'));
    const pin = (headers: Fields) =>
      dashboard.press(`/snapshots/${snapshot}/pin`, { form }, { bySocket: true, headers });
    expect((await pin({ origin: 'http://evil.example' })).status).toBe(400);
    expect(await outcomeAt(await pin({}), bySocket)).toContain(`There is no snapshot ${snapshot}`);
  });
});

describe('in Chromium', () => {
  let chromium: TestBrowser;
  beforeAll(async () => {
    chromium = await startBrowser();
  }, 120_000);
  afterAll(() => chromium?.close());

  /** @param use is told where the pages of its session are */
  const visit = (options: BrowserContextOptions, use: (page: Page, url: string) => Promise<void>) =>
    withPage(chromium.browser, { viewport: desktop, ...options }, async (page, context) => {
      await use(page, await dashboard.logInBrowser(context));
    });

  test('every page is in order on a desktop and on a phone, in light and in dark colours', async () => {
    await visit({}, async (page, url) => {
      const complaints = complaintsOf(page);
      const { body } = await read('guests/web-001');
      const job = /href="[^"]*\/(jobs\/[^"]+)"/.exec(body)?.[1] ?? '';
      for (const path of ['', 'guests/web-001', job, 'login']) {
        await page.goto(url + path);
        // Three hundred rows are alike to axe, and take it long: the worst and some others are looked at.
        if (path === '') {
          await page.fill('#find', 'b-00');
          await page.evaluate(`for (const row of document.querySelectorAll('#guests tbody tr'))
            if (row.offsetParent === null) row.remove()`);
        }
        for (const [viewport, colorScheme, rules] of [
          [desktop, 'light', undefined],
          [desktop, 'dark', ['color-contrast']],
          [phone, 'dark', undefined],
          // What the colours have nothing to do with was looked at in the dark.
          [phone, 'light', ['color-contrast']],
        ] as const) {
          await page.setViewportSize(viewport);
          await page.emulateMedia({ colorScheme });
          const found = await accessibilityProblems(page, rules);
          expect({ path, viewport, colorScheme, found }).toEqual({ path, viewport, colorScheme, found: [] });
          const widths = "['scrollWidth', 'clientWidth'].map((key) => document.documentElement[key])";
          const [wide = Number.NaN, window = 0] = await page.evaluate<number[]>(widths);
          expect(wide).toBeLessThanOrEqual(window);
        }
      }
      expect(complaints).toEqual([]);
    });
  }, 240_000);

  test('logs in by the link of the command, finds a guest by its name, and gets to it with the keyboard alone', async () => {
    await withPage(chromium.browser, { viewport: desktop }, async (page) => {
      await page.goto(await dashboard.loginUrl());
      await page.keyboard.press('Tab');
      expect(await page.evaluate('document.activeElement.textContent')).toBe('To the content');
      await page.focus('#find');
      await page.keyboard.type('WIKI-30');
      expect(await page.locator('#guests tbody tr:visible').allTextContents()).toHaveLength(1);
      await page.keyboard.press('Tab');
      await page.keyboard.press('Enter');
      await page.waitForURL('**/guests/wiki-300');
      expect(await page.locator('h1').textContent()).toBe('wiki-300');
    });
  });

  test('shows its cookie to no other port, wherever a page of another user leads it, and tells it no path', async () => {
    await withListener(async (listener) => {
      await visit({}, async (page, url) => {
        const { pathname } = new URL(url);
        const other = `http://${dashboard.url.hostname}:${listener.port}`;
        await page.goto(url);
        await page.evaluate(`location.href = '${other}/from-our-page'`);
        await page.waitForURL('**/from-our-page');
        for (const path of ['/', '/s/', '/login', '/guests/web-001', '/s/x/']) await page.goto(other + path);
        const seen = listener.seen().filter((line) => !line.startsWith('/favicon'));
        expect(seen).toHaveLength(6);
        for (const words of ['umlsnap', pathname]) expect(seen.join('\n')).not.toContain(words);
        // The cookie is there all the while, and a visitor who knows no path is led to the session by what this port alone gets.
        await page.goto(dashboard.url.href);
        await page.waitForURL(url);
        await page.locator('#guests').waitFor();
      });
    });
  });

  test('pages without a script have everything, buttons included', async () => {
    await visit({ javaScriptEnabled: false }, async (page, url) => {
      await page.goto(url);
      expect(await page.locator('#guests tbody tr').count()).toBe(300);
      await page.goto(`${url}guests/db-002`);
      await page.click('text=Snapshot now');
      await page.waitForURL('**/guests/db-002?action=*');
      await waitFor('the action to end', async () => {
        await page.reload();
        return (await page.locator('#action').textContent())?.includes('A snapshot of db-002 failed:');
      });
      expect(await page.locator('svg.bar').count()).toBeGreaterThan(3);
    });
  });
});
