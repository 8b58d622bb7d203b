import type { FastifyInstance } from 'fastify';
import { addButtons } from './button-routes.js';
import { FrontDesk, type RouteParts } from './front-desk.js';
import { headers } from './headers.js';
import { addLogin } from './login-routes.js';
import { addPages } from './page-routes.js';

/** Adds the dashboard to a server, in a scope of its own: forms are not JSON, and its errors are pages. */
export function addDashboard(app: FastifyInstance, parts: RouteParts): void {
  app.register(async (scope) => {
    const desk = new FrontDesk(parts);
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
    scope.setErrorHandler((thrown, request, reply) => desk.sendError(thrown, request, reply));
    addPages(scope, desk, parts);
    addButtons(scope, desk, parts);
    addLogin(scope, desk, parts);
  });
}
