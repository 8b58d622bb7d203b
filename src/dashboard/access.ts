import {
  type BrowserHeaders,
  isChange,
  isFromOurPage,
  isOurName,
  type Transport,
} from '../control/browser-guard.js';

/** Who may do what, decided from a request alone. */

/** `scrape`: the metrics. `read`: pages too. `act`: all that the control socket allows. */
export type Rights = 'act' | 'read' | 'scrape';

export interface Caller extends BrowserHeaders {
  /** The control socket proves by its file's rights who may use it. */
  via: Transport;
  method: string;
  /** What a cookie, or a token, of the request proves; null: it has none, or a wrong one. */
  proves: 'act' | 'scrape' | null;
}

export interface AccessRules {
  /** Names of ours, beside localhost and addresses; lower case. */
  hosts: readonly string[];
  readWithoutToken: boolean;
}

export type Access =
  | { may: Rights }
  /** `host`: it was asked for under a name that is not ours. `origin`: by a page that is not ours. */
  | { may: null; because: 'host' | 'origin' | 'login' };

/**
 * Whether somebody may be logged in under this name. `localhost` is also ::1, where another user may listen on our port: a browser
 * that asks there shows him its cookie. Nobody but us is at our address.
 */
export function maySessionBeAt(host: string | undefined): boolean {
  return !/^(.*\.)?localhost(:\d*)?$/i.test(host ?? '');
}

/**
 * Decides about a request. Names that are not ours are refused, and what changes something MUST come from a page of ours, on
 * the socket too: see browser-guard.ts.
 */
export function decideAccess(caller: Caller, rules: AccessRules): Access {
  if (!isOurName(caller.host, caller.via, rules.hosts)) return { may: null, because: 'host' };
  if (isChange(caller.method) && !isFromOurPage(caller)) return { may: null, because: 'origin' };
  if (caller.via === 'socket' || caller.proves === 'act') return { may: 'act' };
  if (rules.readWithoutToken) return { may: 'read' };
  return caller.proves === 'scrape' ? { may: 'scrape' } : { may: null, because: 'login' };
}
