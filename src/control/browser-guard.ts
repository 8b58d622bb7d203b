import { isIP } from 'node:net';

/**
 * What keeps other sites' pages from using a browser's way to us: a browser may have one wherever we listen on a port, or
 * somebody has forwarded our socket to one.
 */

export interface BrowserHeaders {
  host: string | undefined;
  origin: string | undefined;
  fetchSite: string | undefined;
}

/** Where a request came in: only browsers resolve names, and no browser has a socket's path. */
export type Transport = 'socket' | 'tcp';

/**
 * Whether a request asks for us by a name of ours. Under another name a browser would take us for part of that name's site, and
 * DNS can be made to point anywhere, also to a loopback address. An address can't be pointed elsewhere; `localhost` is ours by
 * definition (RFC 6761). On a socket programs make a name up, as in `curl --unix-socket … http://umlsnap/`: one without a dot
 * is in nobody's DNS.
 * @param hosts further names of ours, in lower case
 */
export function isOurName(host: string | undefined, transport: Transport, hosts: readonly string[]): boolean {
  if (host === undefined || host === '') return transport === 'socket';
  const [, name] = /^(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::\d{1,5})?$/.exec(host.toLowerCase()) ?? [];
  if (name === undefined) return false;
  if (isIP(name.replace(/^\[|\]$/g, '')) !== 0) return true;
  if (transport === 'socket' && !name.includes('.')) return true;
  return name === 'localhost' || name.endsWith('.localhost') || hosts.includes(name);
}

/** Of a request that changes something: programs that are no browser send neither header, and are in their user's power only. */
export function isFromOurPage({ host, origin, fetchSite }: BrowserHeaders): boolean {
  if (fetchSite !== undefined && fetchSite !== 'same-origin' && fetchSite !== 'none') return false;
  return origin === undefined || hostOf(origin) === host?.toLowerCase();
}

export function isChange(method: string): boolean {
  return method !== 'GET' && method !== 'HEAD';
}

/** Without its scheme: before us may stand a proxy that speaks TLS. */
function hostOf(origin: string): string | undefined {
  return /^https?:\/\/([^/]+)$/.exec(origin.toLowerCase())?.[1];
}
