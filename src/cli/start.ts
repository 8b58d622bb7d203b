import { type Recovered, recoverAtStart, recoverWithoutHistory } from '../../jobs/recover.js';
import { type House, withHistoryIfAny, withHouse } from '../compose.js';
import type { Config } from '../config/config.js';
import { isHistoryFailure, UmlsnapError } from '../errors.js';
import type { SqliteHistory } from '../history/sqlite-history.js';
import { type RecoveredPause, recoverPauses } from '../pause/recover-pauses.js';
import { warn } from './output.js';

/** Runs `use` with the house of a config, after what every command begins with. @throws HistoryUnusable, HistoryLocked */
export async function withStartedHouse<T>(
  config: Config,
  use: (house: House, recovered: Recovered) => Promise<T>,
): Promise<T> {
  const pauses = await resumeLeftPaused(config);
  return await withHouse(config, async (house) => use(house, await recoverAtStart(house.history, pauses)));
}

/** The same for what must work without a history: when it can't be used, `use` gets the error in its place. */
export async function withStartedHistoryIfAny<T>(
  config: Config,
  use: (history: SqliteHistory | UmlsnapError, recovered: Recovered) => Promise<T>,
): Promise<T> {
  const pauses = await resumeLeftPaused(config);
  return await withHistoryIfAny(config, async (history) => use(history, await settle(history, pauses)));
}

/**
 * Guests that dead processes of ours left paused MUST run again before anything else is done that could fail, the opening
 * of the history above all.
 */
async function resumeLeftPaused(config: Config): Promise<RecoveredPause[]> {
  const pauses = await recoverPauses(config.state);
  for (const found of pauses) {
    if (found.found === 'mayBePaused') warn(`GUEST ${found.guest} MAY STILL BE PAUSED: ${found.problem}`);
  }
  return pauses;
}

async function settle(history: SqliteHistory | UmlsnapError, pauses: RecoveredPause[]): Promise<Recovered> {
  try {
    if (!(history instanceof UmlsnapError)) return await recoverAtStart(history, pauses);
  } catch (error) {
    if (!isHistoryFailure(error)) throw error;
  }
  return recoverWithoutHistory(pauses);
}
