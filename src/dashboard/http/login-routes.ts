import type { FastifyInstance, FastifyReply } from 'fastify';
import { loginPage } from '../pages/login-page.js';
import { type FrontDesk, type RouteParts, sendPage } from './front-desk.js';
import type { Query } from './page-routes.js';

/** As long as a cookie is good. */
const sessionMs = 7 * 86_400_000;

export function addLogin(
  scope: FastifyInstance,
  desk: FrontDesk,
  { keys, codes, cookieName }: RouteParts,
): void {
  const logIn = (reply: FastifyReply) => {
    const session = keys.newSession(new Date(Date.now() + sessionMs));
    const attributes = `Path=/; HttpOnly; SameSite=Strict; Max-Age=${sessionMs / 1000}`;
    return reply.header('set-cookie', `${cookieName}=${session}; ${attributes}`).redirect('/', 303);
  };
  scope.get<Query>('/login', async (request, reply) => {
    desk.requireOurName(request);
    const { code } = request.query;
    if (typeof code !== 'string') return await sendPage(reply, 200, loginPage(desk.strangersView(), null));
    if (codes.use(code)) return await logIn(reply);
    const problem = 'This link is used up or too old. Have another one printed.';
    return await sendPage(reply, 401, loginPage(desk.strangersView(), problem));
  });
  scope.post<{ Body: unknown }>('/login', async (request, reply) => {
    desk.requireOurName(request);
    const token = request.body instanceof URLSearchParams ? (request.body.get('token') ?? '') : '';
    if (keys.whatProves(token.trim()) === 'act') return await logIn(reply);
    const problem = 'That is not the token.';
    return await sendPage(reply, 401, loginPage(desk.strangersView(), problem));
  });
  scope.post('/logout', async (request, reply) => {
    desk.requireForm(request);
    const attributes = 'Path=/; HttpOnly; SameSite=Strict; Max-Age=0';
    return await reply.header('set-cookie', `${cookieName}=; ${attributes}`).redirect('/login', 303);
  });
}
