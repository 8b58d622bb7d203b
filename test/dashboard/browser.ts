import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';

/** A real browser: Debian's Chromium, without its own business on the network. */

const executablePath = '/usr/bin/chromium';
const flags = [
  ...['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking'],
  ...['--disable-component-update', '--disable-sync'],
];

export const desktop = { width: 1280, height: 900 };
export const phone = { width: 390, height: 844 };

export type TestBrowser = Awaited<ReturnType<typeof startBrowser>>;

export async function startBrowser() {
  if (!existsSync(executablePath)) throw new Error(`there is no ${executablePath}: apt-get install chromium`);
  // Profile and caches are the browser's own: nothing of it is left behind.
  const home = await makeTempDir();
  const own = { HOME: home, XDG_CONFIG_HOME: join(home, 'c'), XDG_CACHE_HOME: join(home, 'x') };
  const env = { ...process.env, ...own } as Record<string, string>;
  const browser = await chromium.launch({ executablePath, args: flags, env, timeout: 120_000 });
  return { browser, close: () => browser.close().then(() => removeTempDir(home)) };
}

const axeFile = createRequire(import.meta.url).resolve('axe-core/axe.min.js');

/** What axe finds against WCAG 2.1 AA and its own best practices: every kind, or by these rules, with the elements. */
export async function accessibilityProblems(page: Page, rules?: readonly string[]): Promise<string[]> {
  if (!(await page.evaluate('"axe" in window'))) await page.evaluate(await readFile(axeFile, 'utf8'));
  const options = JSON.stringify(rules === undefined ? {} : { runOnly: rules });
  const results = await page.evaluate(`axe.run(document, ${options})`);
  const { violations } = results as { violations: { id: string; help: string; nodes: { html: string }[] }[] };
  const elementsOf = (nodes: { html: string }[]) => nodes.map(({ html }) => html).join(' ');
  return violations.map(({ id, help, nodes }) => `${id}: ${help}: ${elementsOf(nodes)}`);
}

/** Fails for whatever the page complains of: a refused script, a broken policy, an asset that is not there. */
export function complaintsOf(page: Page): string[] {
  const complaints: string[] = [];
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('requestfailed', (request) => {
    const { errorText } = request.failure() ?? { errorText: '' };
    // What a page was asking for when it was left.
    if (errorText !== 'net::ERR_ABORTED') complaints.push(`${request.url()} ${errorText}`);
  });
  return complaints;
}

/** Runs `use` with a page of its own, at this size and in these colours. */
export async function withPage<T>(
  browser: Browser,
  options: Parameters<Browser['newContext']>[0],
  use: (page: Page, context: BrowserContext) => Promise<T>,
): Promise<T> {
  const context = await browser.newContext(options);
  context.setDefaultTimeout(60_000);
  try {
    return await use(await context.newPage(), context);
  } finally {
    await context.close();
  }
}
