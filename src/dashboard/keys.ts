import { createHmac, timingSafeEqual } from 'node:crypto';

/** What proves something to the dashboard, made of the one secret in its token file: all of it ends when the file is replaced. */
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

  /** What a form of a page shows that was served to the session of this id; to the socket's users, one without a session. */
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
export function isSame(one: string, other: string): boolean {
  const [a, b] = [one, other].map((text) => createHmac('sha256', 'compare').update(text).digest());
  return a !== undefined && b !== undefined && timingSafeEqual(a, b);
}
