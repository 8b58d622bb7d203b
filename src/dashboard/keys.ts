import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';

/**
 * All that proves something to the dashboard, made of the one secret in its token file: cookies and form tokens are signed by
 * it and need no memory of ours, so that they outlive a restart, and all of them end when the file is replaced.
 */
export class Keys {
  readonly #secret: string;

  constructor(secret: string) {
    this.#secret = secret;
  }

  /** What a scrape of the metrics shows, and may do nothing else with: what Prometheus holds, others may read. */
  get scrapeToken(): string {
    return this.#sign('scrape');
  }

  /** What a token of an `Authorization: Bearer` header, or of the login form, proves. */
  whatProves(token: string): 'act' | 'scrape' | null {
    if (isSame(token, this.#secret)) return 'act';
    return isSame(token, this.scrapeToken) ? 'scrape' : null;
  }

  /** A cookie's value, good until then. */
  newSession(until: Date): string {
    const body = `${until.getTime().toString(36)}.${randomBytes(12).toString('base64url')}`;
    return `${body}.${this.#sign(`session ${body}`)}`;
  }

  isSession(cookie: string, now: Date): boolean {
    const [, body, untilText, signature] = /^(([0-9a-z]{1,12})\.[\w-]{16})\.([\w-]{43})$/.exec(cookie) ?? [];
    if (body === undefined || untilText === undefined || signature === undefined) return false;
    return isSame(signature, this.#sign(`session ${body}`)) && Number.parseInt(untilText, 36) > now.getTime();
  }

  /** What a form of a page shows that was served to this session; to the socket's users, one without a session. */
  formToken(session: string | undefined): string {
    return this.#sign(`form ${session ?? ''}`);
  }

  isFormToken(token: string, session: string | undefined): boolean {
    return isSame(token, this.formToken(session));
  }

  #sign(what: string): string {
    return createHmac('sha256', this.#secret).update(what).digest('base64url');
  }
}

/** Takes as long wherever they differ. */
function isSame(one: string, other: string): boolean {
  const [a, b] = [one, other].map((text) => createHmac('sha256', 'compare').update(text).digest());
  return a !== undefined && b !== undefined && timingSafeEqual(a, b);
}
