import type { IncomingMessage } from 'node:http';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Transport } from '../../control/browser-guard.js';
import { drainBody } from '../../control/drain-body.js';
import { peerPid } from '../../control/peer-pid.js';
import type { Requester } from '../../control/request.js';
import { asUmlsnapError, explainError } from '../../error-text.js';
import { UmlsnapError } from '../../errors.js';
import {
  type Access,
  type AccessRules,
  type Caller,
  decideAccess,
  maySessionBeAt,
  type Rights,
} from '../access.js';
import type { Dashboard } from '../dashboard.js';
import type { Html } from '../html.js';
import type { Keys } from '../keys.js';
import type { LoginCodes } from '../login-codes.js';
import { messagePage, type View } from '../pages/layout.js';
import { loginPage } from '../pages/login-page.js';
import type { PendingAction } from '../pending-actions.js';
import type { Sessions } from '../sessions.js';
import { RateLimits } from './rate-limits.js';
import { Refused, refusals } from './refusals.js';

export interface RouteParts {
  dashboard: Dashboard;
  keys: Keys;
  codes: LoginCodes;
  sessions: Sessions;
  via: Transport;
  rules(): AccessRules;
}

export const cookieName = 'umlsnap';
/** Below it are a session's pages, and to them alone goes its cookie. */
export const sessionPath = (id: string) => `/s/${id}/`;

type Decided = Access & Pick<Caller, 'proves'>;

/** Knows who asks, and says no. */
export class HttpAuth {
  readonly #parts: RouteParts;
  readonly #onTrusted: (request: IncomingMessage) => void;
  readonly #limits = new RateLimits();
  /** Decided once for each request: a wrong token counts. */
  readonly #decided = new WeakMap<FastifyRequest, Decided>();

  /** @param onTrusted told of each request by somebody who may press buttons */
  constructor(parts: RouteParts, onTrusted: (request: IncomingMessage) => void) {
    this.#parts = parts;
    this.#onTrusted = onTrusted;
  }

  /** What a page is shown with, for whoever may see it. */
  viewFor(request: FastifyRequest, needed: Rights): View {
    return this.#view(request, this.require(request, needed));
  }

  #view(request: FastifyRequest, rights: Rights): View {
    const session = this.sessionOf(request);
    const formToken = rights === 'act' ? this.#parts.keys.formToken(session) : null;
    const { refusedSince } = this.#parts.dashboard;
    return { ...this.strangersView(), formToken, isLoggedIn: session !== undefined, refusedSince };
  }

  strangersView(): View {
    const nothing = { formToken: null, isLoggedIn: false, refusedSince: null };
    return { now: new Date(), hostName: this.#parts.dashboard.hostName, ...nothing };
  }

  require(request: FastifyRequest, needed: Rights): Rights {
    const access = this.#access(request);
    if (access.may === null) throw new Refused(access.because);
    const order: Rights[] = ['scrape', 'read', 'act'];
    if (order.indexOf(access.may) < order.indexOf(needed))
      throw new Refused(access.may === 'scrape' ? 'rights' : 'login');
    // Who shows the token for metrics is no stranger, also where strangers may read.
    const limit = access.proves === 'scrape' ? 'scrape' : 'read';
    if (access.may === 'act') this.#onTrusted(request.raw);
    else if (!this.#limits.take(limit)) throw new Refused(limit);
    return access.may;
  }

  /** For what strangers may see: under a name of ours, from a page of ours. */
  requireOurName(request: FastifyRequest): void {
    const access = this.#access(request);
    if (access.may === null && access.because !== 'login') throw new Refused(access.because);
  }

  /** For logging in: under a name that leads to nobody but us. */
  requireNameForSessions(request: FastifyRequest): void {
    this.requireOurName(request);
    if (!this.#maySessionBeAt(request)) throw new Refused('localhost');
  }

  /** What changes something needs the token of a form of ours; a program with a token of its own has no forms. */
  requireForm(request: FastifyRequest): void {
    this.require(request, 'act');
    if (this.#bearer(request) !== undefined) return;
    const token = request.body instanceof URLSearchParams ? (request.body.get('form') ?? '') : '';
    if (!this.#parts.keys.isFormToken(token, this.sessionOf(request))) throw new Refused('form');
  }

  requester(request: FastifyRequest): Requester {
    return { from: 'host', pid: this.#parts.via === 'socket' ? peerPid(request.raw.socket) : null };
  }

  actionIn(value: string | string[] | undefined): PendingAction | undefined {
    return typeof value === 'string' ? this.#parts.dashboard.actions.find(Number(value)) : undefined;
  }

  /** Who looks at a live feed; null: a stranger. */
  viewerOf(request: FastifyRequest): string | null {
    if (this.#parts.via === 'socket') return `pid ${peerPid(request.raw.socket)}`;
    return this.#access(request).may === 'act' ? (this.sessionOf(request) ?? 'token') : null;
  }

  /** Where the pages are that whoever asks gets links to. */
  pathFor(request: FastifyRequest): string {
    const session = this.sessionOf(request);
    return session === undefined ? '/' : sessionPath(session);
  }

  async sendPage(
    request: FastifyRequest,
    reply: FastifyReply,
    status: number,
    page: Html,
  ): Promise<FastifyReply> {
    const text = page.below(this.pathFor(request)).toString();
    return await reply.code(status).type('text/html; charset=utf-8').send(text);
  }

  async sendMessage(
    request: FastifyRequest,
    reply: FastifyReply,
    status: number,
    title: string,
    text: string,
  ): Promise<FastifyReply> {
    const access = this.#access(request);
    const view = access.may === null ? this.strangersView() : this.#view(request, access.may);
    return await this.sendPage(request, reply, status, messagePage(view, title, text));
  }

  async sendError(thrown: unknown, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    if (thrown instanceof Refused) return await this.#sendRefusal(thrown, request, reply);
    const { statusCode } = thrown as { statusCode?: number };
    const isTheirs = statusCode !== undefined && statusCode >= 400 && statusCode < 500;
    const error = isTheirs
      ? new UmlsnapError('Usage', { problem: (thrown as Error).message }, thrown)
      : asUmlsnapError(thrown);
    const status = isTheirs ? statusCode : (statusOf[error.code] ?? 500);
    if (status === 413) await drainBody(request.raw);
    const title = status === 404 ? 'Not here' : 'That went wrong';
    return await this.sendMessage(request, reply, status, title, explainError(error));
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
    const isAtLogin = because === 'login' && this.#maySessionBeAt(request);
    const says = because === 'login' ? refusals.localhost.text : text;
    const page = isAtLogin ? loginPage(view, null) : messagePage(view, 'Refused', says);
    return await this.sendPage(request, reply, status, page);
  }

  #access(request: FastifyRequest): Decided {
    const decided = this.#decided.get(request) ?? this.#decide(request);
    this.#decided.set(request, decided);
    return decided;
  }

  #decide(request: FastifyRequest): Decided {
    const { host, origin } = request.headers;
    const fetchSite = [request.headers['sec-fetch-site']].flat()[0];
    const { via, rules } = this.#parts;
    const proves = this.#proves(request);
    const caller = { via, method: request.method, host, origin, fetchSite, proves };
    return { ...decideAccess(caller, rules()), proves };
  }

  #proves(request: FastifyRequest): 'act' | 'scrape' | null {
    const bearer = this.#bearer(request);
    if (bearer !== undefined) return this.whatProves(bearer);
    return this.sessionOf(request) === undefined ? null : 'act';
  }

  #bearer({ headers: { authorization } }: FastifyRequest): string | undefined {
    return /^Bearer (\S{1,4096})$/i.exec(authorization ?? '')?.[1];
  }

  /**
   * What a token proves. After many wrong ones none is looked at for a while, except for the one for metrics: we made that, and
   * nobody guesses it.
   */
  whatProves(token: string): 'act' | 'scrape' | null {
    const proves = this.#parts.keys.whatProves(token);
    if (proves === 'scrape') return proves;
    if (!this.#limits.has('tries')) throw new Refused('tries');
    if (proves === null) this.#limits.take('tries');
    return proves;
  }

  /** The session below whose path it asks, if it shows the cookie. */
  sessionOf(request: FastifyRequest): string | undefined {
    const { session } = request.params as Record<string, string | undefined>;
    if (session === undefined || !this.#maySessionBeAt(request)) return undefined;
    const secrets = (request.headers.cookie ?? '')
      .split(/; */)
      .filter((pair) => pair.startsWith(`${cookieName}=`))
      .map((pair) => pair.slice(cookieName.length + 1));
    return this.#parts.sessions.isOpen(session, secrets) ? session : undefined;
  }

  /** The socket's users got there without a name. */
  #maySessionBeAt({ headers: { host } }: FastifyRequest): boolean {
    return this.#parts.via === 'socket' || maySessionBeAt(host);
  }
}

const statusOf: Partial<Record<UmlsnapError['code'], number>> = {
  ...{ Usage: 400, NoSuchGuest: 404, NoSuchJob: 404, NoSuchSnapshot: 404, HistoryLocked: 503 },
};
