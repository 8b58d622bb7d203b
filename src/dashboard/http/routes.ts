import type { IncomingMessage } from 'node:http';
import type { FastifyInstance } from 'fastify';
import { addButtons } from './button-routes.js';
import { headers } from './headers.js';
import { HttpAuth, type RouteParts, sessionPath } from './http-auth.js';
import { addLogin } from './login-routes.js';
import { addPages } from './page-routes.js';

/**
 * Adds the dashboard to a server, in a scope of its own: forms are not JSON, and its errors are pages. All of it is there twice, for
 * whoever shows no cookie, and below the path of each session.
 * @param onTrusted told of each request by somebody who may press buttons
 */
export function addDashboard(
  app: FastifyInstance,
  parts: RouteParts,
  onTrusted: (request: IncomingMessage) => void = () => {},
): void {
  app.register(async (scope) => {
    const auth = new HttpAuth(parts, onTrusted);
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser(
      'application/x-www-form-urlencoded',
      { parseAs: 'string' },
      (_request, body, done) => done(null, new URLSearchParams(String(body))),
    );
    scope.addHook('onSend', async (_request, reply) => {
      for (const [name, value] of Object.entries(headers))
        if (!reply.hasHeader(name)) reply.header(name, value);
    });
    scope.setErrorHandler((thrown, request, reply) => auth.sendError(thrown, request, reply));
    for (const prefix of ['', sessionPath(':session').slice(0, -1)])
      scope.register(
        async (place) => {
          addPages(place, auth, parts);
          addButtons(place, auth, parts);
          addLogin(place, auth, parts);
        },
        { prefix },
      );
  });
}
