import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fastify } from 'fastify';
import { errnoOf, problemOf, UmlsnapError } from '../../errors.js';
import type { RouteParts } from './front-desk.js';
import { addDashboard } from './routes.js';

export interface Listening {
  address: string;
  port: number;
}

const maxBodyBytes = 16 * 1024;
const maxConnections = 256;
/** For a whole request to arrive. */
const requestPatienceMs = 10_000;
/** For viewers to read what they asked for at the end. */
const farewellMs = 1000;

/**
 * Runs `use` while the pages can be had at an address; afterwards nobody is connected to it any more.
 * @param partsAt what is served there, once it is known which port it is
 * @throws DashboardUnusable before `use`
 */
export async function withPageServer<T>(
  at: Listening,
  partsAt: (listening: Listening) => RouteParts,
  use: (listening: Listening) => Promise<T>,
): Promise<T> {
  const server = createServer({ headersTimeout: requestPatienceMs, requestTimeout: requestPatienceMs });
  server.maxConnections = maxConnections;
  const listening = await listen(server, at);
  const app = fastify({
    bodyLimit: maxBodyBytes,
    serverFactory: (handler) => {
      server.on('request', handler);
      return server;
    },
  });
  const parts = partsAt(listening);
  addDashboard(app, parts);
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
