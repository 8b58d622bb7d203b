import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fastify } from 'fastify';
import { Connections } from '../../control/connections.js';
import { errnoOf, problemOf, UmlsnapError } from '../../errors.js';
import type { RouteParts } from './http-auth.js';
import { addDashboard } from './routes.js';

export interface Listening {
  address: string;
  port: number;
}

const maxBodyBytes = 16 * 1024;
/** More than wait to be accepted (node's 511): those who came at once don't push each other out before they are heard. */
const maxConnections = 512;
/** For a whole request to arrive; node looks by a clock of its own, that is slow unless told. */
const requestPatienceMs = 8000;
const lookEveryMs = 1000;
/** For viewers to read what they asked for at the end. */
const farewellMs = 1000;

/**
 * Runs `use` while the pages can be had at an address; afterwards nobody is connected to it any more.
 * @throws DashboardUnusable before `use`
 */
export async function withPageServer<T>(
  at: Listening,
  parts: RouteParts,
  use: (listening: Listening) => Promise<T>,
): Promise<T> {
  const server = createServer({
    ...{ headersTimeout: requestPatienceMs, requestTimeout: requestPatienceMs },
    connectionsCheckingInterval: lookEveryMs,
  });
  const connections = new Connections(server, maxConnections);
  const listening = await listen(server, at);
  const app = fastify({
    bodyLimit: maxBodyBytes,
    serverFactory: (handler) => {
      server.on('request', handler);
      return server;
    },
  });
  addDashboard(app, parts, ({ socket }) => connections.keep(socket));
  await app.ready();
  try {
    return await use(listening);
  } finally {
    parts.dashboard.feed.close();
    const farewell = setTimeout(() => server.closeAllConnections(), farewellMs);
    server.closeIdleConnections();
    await new Promise<void>((resolve) => server.close(() => resolve()));
    clearTimeout(farewell);
  }
}

function listen(server: Server, { address, port }: Listening): Promise<Listening> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) => {
      const isTaken = errnoOf(error) === 'EADDRINUSE';
      const problem = isTaken
        ? `port ${port} of ${address} is taken by another process; give it another one (dashboard.listen)`
        : `it can't listen at ${address}, port ${port}: ${problemOf(error)}`;
      reject(new UmlsnapError('DashboardUnusable', { problem }, error));
    });
    server.listen({ host: address, port }, () => {
      resolve({ address, port: (server.address() as AddressInfo).port });
    });
  });
}
