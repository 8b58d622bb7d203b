import type { Config } from '../config/config.js';
import type { SqliteHistory } from '../history/sqlite-history.js';

/** Where guests said their consoles are when they booted. */
export class ReportedConsolePaths {
  readonly #history: Pick<SqliteHistory, 'events'>;
  readonly #byGuest = new Map<string, string>();

  constructor(history: Pick<SqliteHistory, 'events'>) {
    this.#history = history;
  }

  /** What a guest said before us. @throws HistoryUnusable, HistoryLocked */
  async recall(guest: string): Promise<void> {
    if (this.#byGuest.has(guest)) return;
    const [booted] = await this.#history.events({ guest, type: 'booted', limit: 1 });
    if (booted && !this.#byGuest.has(guest)) this.#byGuest.set(guest, booted.text);
  }

  record(guest: string, socketPath: string): void {
    this.#byGuest.set(guest, socketPath);
  }

  /** The config with what its guests have said. */
  informed(config: Config): Config {
    const guests: Config['guests'] = Object.create(null);
    for (const guest of Object.values(config.guests)) {
      const reportedConsole = this.#byGuest.get(guest.name);
      guests[guest.name] = reportedConsole === undefined ? guest : { ...guest, reportedConsole };
    }
    return { ...config, guests };
  }
}
