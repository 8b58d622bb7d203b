import { randomBytes } from 'node:crypto';

const goodForMs = 5 * 60_000;
const maxCodes = 32;

/** Codes in login links: each logs in once, and soon, so that a link in a history or a log is worth nothing. */
export class LoginCodes {
  readonly #untilByCode = new Map<string, number>();
  readonly #nowMs: () => number;

  /** @param nowMs milliseconds of a monotonic clock */
  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  make(): string {
    const [oldest] = this.#untilByCode.keys();
    if (this.#untilByCode.size >= maxCodes && oldest !== undefined) this.#untilByCode.delete(oldest);
    const code = randomBytes(24).toString('base64url');
    this.#untilByCode.set(code, this.#nowMs() + goodForMs);
    return code;
  }

  /** Whether it is good; it is not any more afterwards. */
  use(code: string): boolean {
    const untilMs = this.#untilByCode.get(code);
    this.#untilByCode.delete(code);
    return untilMs !== undefined && this.#nowMs() < untilMs;
  }
}
