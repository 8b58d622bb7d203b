import type { FastifyInstance, FastifyRequest } from 'fastify';
import { assetNamed } from '../assets.js';
import type { Html } from '../html.js';
import { metricsContentType } from '../metrics/exposition.js';
import { changedRows, firstPage } from '../pages/first-page.js';
import { guestPage } from '../pages/guest-page.js';
import { jobPage } from '../pages/job-page.js';
import type { View } from '../pages/layout.js';
import { headers } from './headers.js';
import type { HttpAuth, RouteParts } from './http-auth.js';

/** What is only looked at. */

export type Query = { Querystring: Record<string, string | string[] | undefined> };

type Reading = FastifyRequest<Query & { Params: Record<string, string> }>;

export function addPages(scope: FastifyInstance, auth: HttpAuth, { dashboard }: RouteParts): void {
  const page = (path: string, render: (request: Reading, view: View) => Promise<Html>) =>
    scope.get<Query & { Params: Record<string, string> }>(path, async (request, reply) => {
      const view = auth.viewFor(request, 'read');
      return await auth.sendPage(request, reply, 200, await render(request, view));
    });
  const progressOf = (guest: string) => dashboard.progressOf(guest);
  page('/', async (_request, view) => firstPage(view, await dashboard.overview(), progressOf));
  page('/rows', async ({ query }, { now }) => {
    const changed = new Set([query.guest ?? []].flat());
    return changedRows(await dashboard.overview(), changed, progressOf, now);
  });
  page('/guests/:guest', async ({ params, query }, view) => {
    const facts = await dashboard.guest(params.guest ?? '', offsetIn(query.jobs));
    return guestPage(view, { ...facts, action: auth.actionIn(query.action) });
  });
  page('/jobs/:job', async ({ params, query }, view) => {
    const facts = await dashboard.job(params.job ?? '');
    return jobPage(view, { ...facts, action: auth.actionIn(query.action) });
  });
  scope.get('/metrics', async (request, reply) => {
    auth.require(request, 'scrape');
    return await reply.type(metricsContentType).send(await dashboard.metrics());
  });
  scope.get('/events', { exposeHeadRoute: false }, (request, reply) => {
    auth.require(request, 'read');
    reply.hijack();
    for (const [name, value] of Object.entries(headers)) reply.raw.setHeader(name, value);
    if (dashboard.feed.join(reply.raw, auth.viewerOf(request))) return;
    reply.raw.writeHead(503, { 'retry-after': '30' }).end();
  });
  scope.get<{ Params: { name: string } }>('/assets/:name', async (request, reply) => {
    auth.requireOurName(request);
    const asset = assetNamed(request.params.name);
    if (!asset) return await auth.sendMessage(request, reply, 404, 'Not here', 'There is no such file.');
    reply.header('cache-control', 'public, max-age=31536000, immutable').type(asset.type);
    return await reply.send(asset.bytes);
  });
}

function offsetIn(value: string | string[] | undefined): number {
  return typeof value === 'string' && /^\d{1,7}$/.test(value) ? Number(value) : 0;
}
