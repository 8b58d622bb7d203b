import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { loginPage } from '../pages/login-page.js';
import { sessionMs } from '../sessions.js';
import { cookieName, type HttpAuth, type RouteParts, sessionPath } from './http-auth.js';
import type { Query } from './page-routes.js';

export function addLogin(scope: FastifyInstance, auth: HttpAuth, { codes, sessions }: RouteParts): void {
  const setCookie = (reply: FastifyReply, id: string, value: string, maxAgeMs: number) => {
    const attributes = `Path=${sessionPath(id)}; HttpOnly; SameSite=Strict; Max-Age=${maxAgeMs / 1000}`;
    return reply.header('set-cookie', `${cookieName}=${value}; ${attributes}`);
  };
  const logIn = (reply: FastifyReply) => {
    const { id, secret } = sessions.begin();
    return setCookie(reply, id, secret, sessionMs).redirect(sessionPath(id), 303);
  };
  const refuse = (request: FastifyRequest, reply: FastifyReply, problem: string) =>
    auth.sendPage(request, reply, 401, loginPage(auth.strangersView(), problem));
  scope.get<Query>('/login', async (request, reply) => {
    auth.requireNameForSessions(request);
    const { code } = request.query;
    if (typeof code !== 'string')
      return await auth.sendPage(request, reply, 200, loginPage(auth.strangersView(), null));
    if (codes.use(code)) return await logIn(reply);
    return await refuse(request, reply, 'This link is used up or too old. Have another one printed.');
  });
  scope.post<{ Body: unknown }>('/login', async (request, reply) => {
    auth.requireNameForSessions(request);
    const token = request.body instanceof URLSearchParams ? (request.body.get('token') ?? '') : '';
    if (auth.whatProves(token.trim()) === 'act') return await logIn(reply);
    return await refuse(request, reply, 'That is not the token.');
  });
  scope.post('/logout', async (request, reply) => {
    auth.requireForm(request);
    const id = auth.sessionOf(request);
    if (id === undefined) return await reply.redirect('/login', 303);
    sessions.end(id);
    return await setCookie(reply, id, '', 0).redirect('/login', 303);
  });
}
