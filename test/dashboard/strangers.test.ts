import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { createServer, type IncomingMessage, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { JobRegistry } from '../../src/control/job-registry.js';
import { LiveFeed } from '../../src/dashboard/live-feed.js';
import { heard } from '../support/heard.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';
import { type Crowd, makeCrowd } from './crowd.js';
import { DashboardOfTests, formTokenIn, type Login, loginIn } from './daemon-of-tests.js';
import { withHeldConnections } from './stranger.js';

/** What other users of the host, who all get to the port, and may even read, leave to those who are logged in. */

let dir: string;
let crowd: Crowd;
let dashboard: DashboardOfTests;
beforeAll(async () => {
  dir = await makeTempDir();
  const options = { guests: 3, jobsPerGuest: 2, jobsWithPhases: 1, dashboard: { readWithoutToken: true } };
  crowd = await makeCrowd(dir, options);
  dashboard = await DashboardOfTests.start(crowd);
});
afterAll(async () => {
  await dashboard?.daemon.end();
  await removeTempDir(dir);
});

const stranger: Login = { cookie: '', path: '/' };
const read = (path: string, { cookie, path: below }: Login) =>
  dashboard.ask(below + path, { headers: { cookie } });
const statusOf = async (path: string, who: Login) => (await read(path, who)).status;

/** A live feed, which stays open as long as the test runs or the server lets it. */
async function openFeed(url: URL | string, cookie = '') {
  const asked = request(url, { headers: { cookie }, agent: false });
  onTestFinished(() => void asked.destroy());
  const [response] = (await once(asked.end(), 'response')) as [IncomingMessage];
  let hasEnded = false;
  response.once('close', () => {
    hasEnded = true;
  });
  response.on('error', () => {});
  const said = heard(response);
  return { status: response.statusCode, said, hasEnded: () => hasEnded };
}
const follow = ({ cookie, path }: Login) => openFeed(new URL(`${path}events`, dashboard.url), cookie);

test('whoever holds more connections than there may be, silent or in the middle of a request, shuts nobody out, and no live page', async () => {
  const session = await dashboard.logIn();
  const [feed, strangersFeed] = [await follow(session), await follow(stranger)];
  await withHeldConnections(Number(dashboard.url.port), 700, async () => {
    await waitFor('a stranger to be pushed out', () => strangersFeed.hasEnded());
    for (let count = 0; count < 20; count++) expect(await statusOf('guests/web-001', session)).toBe(200);
    expect((await dashboard.ask('/login')).status).toBe(200);
    expect((await readdir(`/proc/${dashboard.daemon.pid}/fd`)).length).toBeLessThan(600);
    const form = formTokenIn(await read('guests/web-001', session));
    await dashboard.press(
      `${session.path}guests/web-001/snapshot`,
      { form },
      { headers: { cookie: session.cookie } },
    );
    await waitFor('the feed to tell', () => feed.said().includes('event: changed'));
    expect(feed.hasEnded()).toBe(false);
  });
});

test('strangers use up their own live feeds only, and so does whoever is logged in; logging out ends them, and the cookie with them', async () => {
  const [one, other] = [await dashboard.logIn(), await dashboard.logIn()];
  const open = async (who: Login) => {
    const feeds = await Promise.all(Array.from({ length: 17 }, () => follow(who)));
    expect(feeds.filter(({ status }) => status === 503)).toHaveLength(1);
    return feeds.filter(({ status }) => status === 200);
  };
  await open(stranger);
  const ofOne = await open(one);
  const ofOther = await follow(other);
  expect(ofOther.status).toBe(200);
  const form = formTokenIn(await read('', one));
  const { cookie } = one;
  const answer = await dashboard.press(`${one.path}logout`, { form }, { headers: { cookie } });
  expect(answer.headers).toMatchObject({ location: '/login' });
  expect(loginIn(answer.headers)).toEqual({ cookie: 'umlsnap=', path: one.path });
  await waitFor('the feeds to end', () => ofOne.every(({ hasEnded }) => hasEnded()));
  expect(ofOther.hasEnded()).toBe(false);
  // It reads as a stranger does, and that is all.
  expect(formTokenIn(await read('', one))).toBe('');
  const press = ({ path, cookie }: Login) =>
    dashboard.press(`${path}guests/web-001/snapshot`, { form }, { headers: { cookie } });
  expect((await press(one)).status).toBe(401);
});

test('strangers who ask without end are told to wait; those who are logged in, and who show the token for metrics, are not', async () => {
  const session = await dashboard.logIn();
  const authorization = `Bearer ${(await dashboard.ctl('dashboard', 'token')).stdout.trim()}`;
  const often = (times: number, ask: () => Promise<number>) =>
    Promise.all(Array.from({ length: times }, ask));
  await waitFor('strangers to be told to wait', async () => {
    const [ofStrangers, ...ofOthers] = await Promise.all([
      often(100, () => statusOf('', stranger)),
      often(10, async () => (await dashboard.ask('/metrics', { headers: { authorization } })).status),
      often(100, () => statusOf('', session)),
    ]);
    expect(new Set(ofOthers.flat())).toEqual(new Set([200]));
    return ofStrangers.includes(429);
  });
});

test('after many wrong tokens none is looked at for a while, and links, sessions and the token for metrics are good all the same', async () => {
  const session = await dashboard.logIn();
  const scrapeToken = (await dashboard.ctl('dashboard', 'token')).stdout.trim();
  const { pathname, search } = new URL(await dashboard.loginUrl());
  const bearer = (token: string) =>
    dashboard.ask('/metrics', { headers: { authorization: `Bearer ${token}` } });
  const right = await dashboard.token();
  const logIn = (token: string) => dashboard.press('/login', { token });
  await waitFor('no token to be looked at', async () => {
    await Promise.all([logIn('x'), ...Array.from({ length: 30 }, () => bearer('x'))]);
    const answers = await Promise.all([bearer(right), logIn(right)]);
    return answers.every(({ status }) => status === 429);
  });
  expect((await bearer(scrapeToken)).status).toBe(200);
  expect(await statusOf('', session)).toBe(200);
  expect((await dashboard.ask(pathname + search)).status).toBe(303);
  await waitFor('tokens to be looked at again', async () => (await bearer(right)).status === 200);
});

test('a session ends with the daemon: who had the port meanwhile has got a cookie that is worth nothing', async () => {
  const session = await dashboard.logIn();
  expect(formTokenIn(await read('', session))).not.toBe('');
  await dashboard.daemon.end();
  dashboard = await DashboardOfTests.start(crowd);
  expect(formTokenIn(await read('', session))).toBe('');
});

test('a live feed lets go of whoever does not read, and goes on for the others', async () => {
  const registry = new JobRegistry();
  const feed = new LiveFeed(registry, () => {});
  const server = createServer((_, response) => void feed.join(response, null)).listen(0, '127.0.0.1');
  onTestFinished(() => {
    feed.close();
    server.closeAllConnections();
    server.close();
  });
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  const reader = await openFeed(url);
  const asked = request(url, { agent: false }).end();
  const [deaf] = (await once(asked, 'response')) as [IncomingMessage];
  deaf.pause();
  onTestFinished(() => void asked.destroy());
  const sockets = () => new Promise<number>((resolve) => server.getConnections((_, count) => resolve(count)));
  expect(await sockets()).toBe(2);
  let pieces = 0;
  registry.begin({ job: 'a', kind: 'backup', guest: 'g'.repeat(60_000), trigger: 'request' });
  await waitFor(
    'the one that does not read to be cut',
    async () => {
      pieces += 1;
      registry.publish('a', { doneBytes: 1, totalBytes: 2 });
      return (await sockets()) === 1;
    },
    { everyMs: 1 },
  );
  await waitFor('the other one to have read all', () => reader.said().split('event: job').length > pieces);
  expect(reader.hasEnded()).toBe(false);
});
