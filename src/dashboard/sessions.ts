import { randomBytes } from 'node:crypto';
import { isSame } from './keys.js';

export interface Session {
  /** Names the path below which its pages are, and its cookie goes. */
  id: string;
  /** What the cookie holds. */
  secret: string;
}

/** As long as one lasts that nobody ends. */
export const sessionMs = 7 * 86_400_000;
const maxSessions = 256;

/**
 * Who is logged in. A browser shows a cookie to every port of its host, and other users listen there: so each session has pages of its
 * own, below a path that nobody else knows, and its cookie goes nowhere else.
 *
 * They live in memory only, and MUST end with us: while we don't run, our port is anybody's, and open pages show their cookies there.
 */
export class Sessions {
  readonly #open = new Map<string, { secret: string; expiry: NodeJS.Timeout }>();
  readonly #onEnd: (id: string) => void;

  constructor(onEnd: (id: string) => void) {
    this.#onEnd = onEnd;
  }

  begin(): Session {
    const [oldest] = this.#open.keys();
    if (this.#open.size >= maxSessions && oldest !== undefined) this.end(oldest);
    const [id, secret] = [randomBytes(16).toString('base64url'), randomBytes(32).toString('base64url')];
    this.#open.set(id, { secret, expiry: setTimeout(() => this.end(id), sessionMs).unref() });
    return { id, secret };
  }

  /** Whether one of these, off as many cookies, is the secret of that session. */
  isOpen(id: string, secrets: readonly string[]): boolean {
    const session = this.#open.get(id);
    return session !== undefined && secrets.some((secret) => isSame(secret, session.secret));
  }

  end(id: string): void {
    clearTimeout(this.#open.get(id)?.expiry);
    if (this.#open.delete(id)) this.#onEnd(id);
  }
}
