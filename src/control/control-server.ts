import { createServer, type Server } from 'node:http';
import { type FastifyInstance, type FastifyRequest, fastify } from 'fastify';
import { asUmlsnapError } from '../error-text.js';
import { UmlsnapError } from '../errors.js';
import { isChange, isFromOurPage, isOurName } from './browser-guard.js';
import { Connections } from './connections.js';
import { listenOn, type SocketRights } from './control-socket.js';
import type { DaemonStatus } from './daemon-status.js';
import { drainBody } from './drain-body.js';
import type { JobRegistry } from './job-registry.js';
import { JsonLines, jsonLinesType } from './json-lines.js';
import { peerPid } from './peer-pid.js';
import type { Requester } from './request.js';
import { parseRequestBody, parseSettingsBody } from './request-body.js';
import { errorObject, type RequestDispatcher } from './request-dispatcher.js';
import type { LiveSettings } from './settings.js';

export interface ControlParts extends SocketRights {
  dispatcher: RequestDispatcher;
  registry: JobRegistry;
  settings: LiveSettings;
  status(): DaemonStatus;
  /** Adds what else is served on the socket. */
  extend?(app: FastifyInstance): void;
}

const maxBodyBytes = 64 * 1024;
const maxConnections = 256;
/** For a whole request to arrive; answers may take as long as they take. */
const requestPatienceMs = 10_000;
/** For clients to read what they were answered at the end. */
const farewellMs = 1000;

/**
 * Runs `use` while the daemon can be asked over HTTP on its unix socket. Afterwards the socket is gone, and so is every
 * client, also one that does not read.
 * @throws SocketPathTooLong, ControlUnusable before `use`
 */
export async function withControlServer<T>(parts: ControlParts, use: () => Promise<T>): Promise<T> {
  const app = buildApp(parts);
  await app.ready();
  const server = app.server as Server;
  await listenOn(server, parts);
  try {
    return await use();
  } finally {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    const farewell = setTimeout(() => server.closeAllConnections(), farewellMs);
    await closed;
    clearTimeout(farewell);
    await app.close();
  }
}

function buildApp(parts: ControlParts): FastifyInstance {
  let connections: Connections | undefined;
  const app = fastify({
    bodyLimit: maxBodyBytes,
    forceCloseConnections: 'idle',
    serverFactory: (handler) => {
      const server = createServer(
        {
          ...{ headersTimeout: requestPatienceMs, requestTimeout: requestPatienceMs },
          // Node looks every half minute otherwise, however short the patience is.
          connectionsCheckingInterval: 1000,
        },
        (request, response) => void handler(request, response),
      );
      connections = new Connections(server, maxConnections);
      return server;
    },
  });
  // Whatever it is called: curl calls everything a form, and nothing but JSON is ever meant.
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', { parseAs: 'string' }, app.getDefaultJsonParser('error', 'error'));
  app.addHook('onRequest', async ({ method, headers }) => {
    const caller = { host: headers.host, origin: headers.origin, fetchSite: fetchSiteOf(headers) };
    if (isOurName(caller.host, 'socket', []) && (!isChange(method) || isFromOurPage(caller))) return;
    throw new UmlsnapError('Usage', { problem: 'a page of another site has no business here.' });
  });
  // Not sooner: a request that never comes to its end is none.
  app.addHook('preHandler', async ({ raw }) => connections?.keep(raw.socket));
  app.setErrorHandler(async (thrown, request, reply) => {
    const { statusCode, message } = thrown as { statusCode?: number; message: string };
    // Fastify's own: a body that is too large, or no JSON.
    const isTheirs = statusCode !== undefined && statusCode >= 400 && statusCode < 500;
    const error = isTheirs ? new UmlsnapError('Usage', { problem: message }) : asUmlsnapError(thrown);
    if (statusCode === 413) await drainBody(request.raw);
    return reply.code(isTheirs ? statusCode : (httpStatusOf[error.code] ?? 500)).send(errorObject(error));
  });
  app.setNotFoundHandler((request, reply) => {
    const error = new UmlsnapError('Usage', { problem: `there is no ${request.method} ${request.url}.` });
    reply.code(404).send(errorObject(error));
  });
  addRequests(app, parts);
  addLooks(app, parts);
  parts.extend?.(app);
  return app;
}

function fetchSiteOf(headers: FastifyRequest['headers']): string | undefined {
  const fetchSite = headers['sec-fetch-site'];
  return Array.isArray(fetchSite) ? fetchSite[0] : fetchSite;
}

const httpStatusOf: Partial<Record<string, number>> = { Usage: 400, NoSuchJob: 404, NoSuchRequest: 404 };

/** Answers carry their status in the body: HTTP's own only says whether the request was one. */
function addRequests(app: FastifyInstance, { dispatcher }: ControlParts): void {
  app.post('/requests', async (request, reply) => {
    const asked = parseRequestBody(request.body, requesterOf(request));
    if (asked.id === 0) {
      void dispatcher.take(asked);
      return await reply.code(204).send();
    }
    if (request.headers.accept !== jsonLinesType) return await dispatcher.take(asked);
    reply.hijack();
    const lines = new JsonLines(reply.raw);
    const { output: _, ...answer } = await dispatcher.take(asked, (object) => lines.write(object));
    lines.write(answer);
    lines.end();
  });
  app.delete<{ Params: { id: string }; Querystring: { because?: string } }>(
    '/requests/:id',
    async (request, reply) => {
      const id = Number(request.params.id);
      const because = /^SIG[A-Z0-9]{2,8}$/.exec(request.query.because ?? '')?.[0] ?? 'its client';
      if (await dispatcher.withdraw(requesterOf(request), id, because)) return await reply.code(204).send();
      throw new UmlsnapError('NoSuchRequest', { id });
    },
  );
}

function addLooks(app: FastifyInstance, { registry, settings, status }: ControlParts): void {
  app.get('/status', () => status());
  app.get('/settings', () => settings.current);
  app.patch('/settings', (request) => settings.change(parseSettingsBody(request.body)));
  app.get<{ Params: { job: string } }>('/jobs/:job/progress', (request, reply) => {
    const { job } = request.params;
    if (!registry.running().some((running) => running.job === job))
      throw new UmlsnapError('NoSuchJob', { job });
    reply.hijack();
    const lines = new JsonLines(reply.raw);
    const stop = registry.follow(job, { take: (object) => lines.write(object), end: () => lines.end() });
    lines.onClosed(() => stop?.());
  });
}

function requesterOf({ raw }: FastifyRequest): Requester {
  return { from: 'host', pid: peerPid(raw.socket) };
}
