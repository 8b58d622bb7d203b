import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Way } from '../../control/browser-guard.js';
import { hearOut } from '../../control/hear-out.js';
import { peerPid } from '../../control/peer-pid.js';
import type { Requester } from '../../control/request.js';
import { asUmlsnapError, explainError } from '../../error-text.js';
import { UmlsnapError } from '../../errors.js';
import { type AccessRules, decideAccess, type Rights } from '../access.js';
import type { Dashboard } from '../dashboard.js';
import type { Errand } from '../errands.js';
import type { Html } from '../html.js';
import type { Keys } from '../keys.js';
import type { LoginCodes } from '../login-codes.js';
import { messagePage, type View } from '../pages/layout.js';
import { loginPage } from '../pages/login-page.js';

export interface RouteParts {
  dashboard: Dashboard;
  keys: Keys;
  codes: LoginCodes;
  via: Way;
  rules(): AccessRules;
  /** Tells cookies of several daemons on one host apart. */
  cookieName: string;
}

/** Thrown for a request that may not do what it asks for. */
class Refused extends Error {
  readonly because: 'host' | 'origin' | 'login' | 'form' | 'rights';

  constructor(because: Refused['because']) {
    super(because);
    this.because = because;
  }
}

const refusals: Record<Refused['because'], { status: number; text: string }> = {
  host: {
    status: 421,
    text: 'This daemon is not known by the name that you asked for. Use its address, or add the name to dashboard.hosts.',
  },
  origin: { status: 403, text: 'This was asked for by a page of another site. Nothing was done.' },
  form: {
    status: 403,
    text: 'This form is too old, or not one of ours. Nothing was done: load the page again.',
  },
  rights: { status: 403, text: 'This token is for metrics only.' },
  login: { status: 401, text: 'Log in first: umlsnap ctl dashboard prints a link.' },
};

/** Knows who asks, and says no. */
export class FrontDesk {
  readonly #parts: RouteParts;

  constructor(parts: RouteParts) {
    this.#parts = parts;
  }

  /** What a page is shown with, for whoever may see it. */
  viewFor(request: FastifyRequest, needed: Rights): View {
    const rights = this.require(request, needed);
    const session = this.#session(request);
    const formToken = rights === 'act' ? this.#parts.keys.formToken(session) : null;
    return { ...this.strangersView(), formToken, isLoggedIn: session !== undefined };
  }

  strangersView(): View {
    return { now: new Date(), hostName: this.#parts.dashboard.hostName, formToken: null, isLoggedIn: false };
  }

  require(request: FastifyRequest, needed: Rights): Rights {
    const access = this.#access(request);
    if (access.may === null) throw new Refused(access.because);
    const order: Rights[] = ['scrape', 'read', 'act'];
    if (order.indexOf(access.may) >= order.indexOf(needed)) return access.may;
    throw new Refused(access.may === 'scrape' ? 'rights' : 'login');
  }

  /** For what strangers may see: under a name of ours, from a page of ours. */
  requireOurName(request: FastifyRequest): void {
    const access = this.#access(request);
    if (access.may === null && access.because !== 'login') throw new Refused(access.because);
  }

  /** What changes something needs the token of a form of ours; a program with a token of its own has no forms. */
  requireForm(request: FastifyRequest): void {
    this.require(request, 'act');
    if (this.#bearer(request) !== undefined) return;
    const token = request.body instanceof URLSearchParams ? (request.body.get('form') ?? '') : '';
    if (!this.#parts.keys.isFormToken(token, this.#session(request))) throw new Refused('form');
  }

  requester(request: FastifyRequest): Requester {
    return { from: 'host', pid: this.#parts.via === 'socket' ? peerPid(request.raw.socket) : null };
  }

  errandIn(value: string | string[] | undefined): Errand | undefined {
    return typeof value === 'string' ? this.#parts.dashboard.errands.find(Number(value)) : undefined;
  }

  message(request: FastifyRequest, title: string, text: string): Html {
    const access = this.#access(request);
    const view = access.may === null ? this.strangersView() : this.viewFor(request, access.may);
    return messagePage(view, title, text);
  }

  async sendError(thrown: unknown, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    if (thrown instanceof Refused) return await this.#sendRefusal(thrown, request, reply);
    const { statusCode } = thrown as { statusCode?: number };
    const isTheirs = statusCode !== undefined && statusCode >= 400 && statusCode < 500;
    const error = isTheirs
      ? new UmlsnapError('Usage', { problem: (thrown as Error).message }, thrown)
      : asUmlsnapError(thrown);
    const status = isTheirs ? statusCode : (statusOf[error.code] ?? 500);
    if (status === 413) await hearOut(request.raw);
    const title = status === 404 ? 'Not here' : 'That went wrong';
    return await sendPage(reply, status, this.message(request, title, explainError(error)));
  }

  async #sendRefusal(
    { because }: Refused,
    request: FastifyRequest,
    reply: FastifyReply,
  ): Promise<FastifyReply> {
    const { status, text } = refusals[because];
    const wantsPage = request.headers.accept?.includes('text/html') === true;
    if (!wantsPage) return await reply.code(status).type('text/plain; charset=utf-8').send(`${text}\n`);
    const view = this.strangersView();
    return await sendPage(
      reply,
      status,
      because === 'login' ? loginPage(view, null) : messagePage(view, 'Refused', text),
    );
  }

  #access(request: FastifyRequest) {
    const { host, origin } = request.headers;
    const fetchSite = [request.headers['sec-fetch-site']].flat()[0];
    const { via, rules } = this.#parts;
    return decideAccess(
      { via, method: request.method, host, origin, fetchSite, proves: this.#proves(request) },
      rules(),
    );
  }

  #proves(request: FastifyRequest): 'act' | 'scrape' | null {
    const bearer = this.#bearer(request);
    if (bearer !== undefined) return this.#parts.keys.whatProves(bearer);
    return this.#session(request) === undefined ? null : 'act';
  }

  #bearer({ headers: { authorization } }: FastifyRequest): string | undefined {
    return /^Bearer (\S{1,4096})$/i.exec(authorization ?? '')?.[1];
  }

  /** The cookie, if it is good. */
  #session({ headers: { cookie } }: FastifyRequest): string | undefined {
    const { cookieName, keys } = this.#parts;
    const now = new Date();
    return (cookie ?? '')
      .split(/; */)
      .filter((pair) => pair.startsWith(`${cookieName}=`))
      .map((pair) => pair.slice(cookieName.length + 1))
      .find((value) => keys.isSession(value, now));
  }
}

const statusOf: Partial<Record<UmlsnapError['code'], number>> = {
  ...{ Usage: 400, NoSuchGuest: 404, NoSuchJob: 404, NoSuchSnapshot: 404, HistoryLocked: 503 },
};

export async function sendPage(reply: FastifyReply, status: number, page: Html): Promise<FastifyReply> {
  return await reply.code(status).type('text/html; charset=utf-8').send(page.toString());
}
