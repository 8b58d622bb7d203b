import type { Config } from '../config/config.js';
import { loadConfig } from '../config/load-config.js';
import type { RefusedReload } from '../control/daemon-status.js';
import { asUmlsnapError, explainError } from '../error-text.js';
import { UmlsnapError } from '../errors.js';

/** The config that a daemon goes by: the last one that was good when it was read. */
export class LiveConfig {
  #current: Config;
  #readAt: Date;
  #refused: RefusedReload | null = null;

  /** @param readAt from before it was read: what is written to the file later is not in it */
  constructor(current: Config, readAt: Date) {
    this.#current = current;
    this.#readAt = readAt;
  }

  readonly get = (): Config => this.#current;

  /** ISO 8601. */
  get readAt(): string {
    return this.#readAt.toISOString();
  }

  /** null: the last reload was good. */
  get refused(): RefusedReload | null {
    return this.#refused;
  }

  /** A bad config leaves the old one in force. @returns whether the new one is */
  async readAgain(): Promise<boolean> {
    const readAt = new Date();
    try {
      const config = await loadConfig(this.#current.file);
      requireSameState(config, this.#current);
      this.#current = config;
      this.#readAt = readAt;
      this.#refused = null;
      return true;
    } catch (thrown) {
      const error = asUmlsnapError(thrown);
      this.#refused = { at: readAt.toISOString(), code: error.code, problem: explainError(error) };
      return false;
    }
  }
}

/** Locks, history and leases of all that is under way lie there. @throws ConfigInvalid */
function requireSameState({ file, state }: Config, { state: before }: Config): void {
  if (state === before) return;
  const message = `is ${state}, and was ${before}: restart the daemon for that`;
  const problem = { line: 0, column: 0, path: 'state', message };
  throw new UmlsnapError('ConfigInvalid', { file, problems: [problem] });
}
