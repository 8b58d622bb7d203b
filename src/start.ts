import { recover } from '../jobs/recover.js';
import { App, withApp, withHistoryIfAny } from './compose.js';
import type { Config } from './config/config.js';
import { isHistoryFailure, problemOf, UmlsnapError } from './errors.js';
import type { SqliteHistory } from './history/sqlite-history.js';
import {
  type Recovered,
  recoverAtStart,
  recoverWithoutHistory,
  settleFreezes,
} from './job/recover-at-start.js';
import { warn } from './output.js';
import { PathRefused } from './path/held-directory.js';
import { requireOwnPlace } from './path/own-place.js';
import { type RecoveredFreeze, recoverFreezes } from './pause/recover-freezes.js';
import { type RecoveredPause, recoverPauses } from './pause/recover-pauses.js';

/** Runs `use` with the app of a config, after what every command begins with. @throws HistoryUnusable, HistoryLocked */
export async function withStartedApp<T>(
  config: Config,
  use: (app: App, recovered: Recovered) => Promise<T>,
): Promise<T> {
  const left = await endWhatWasLeft(config);
  return await withApp(config, async (app) => {
    const recovered = await recoverAtStart(app.history, left.pauses);
    settleFreezes(left.freezes, recovered);
    return await use(app, recovered);
  });
}

/**
 * What every command begins with, for a daemon that is about to do something in the place of one.
 * @throws HistoryUnusable, HistoryLocked
 */
export async function recoverAgain(app: App): Promise<Recovered> {
  const left = await endWhatWasLeft(app.config);
  const recovered = await recoverAtStart(app.history, left.pauses);
  settleFreezes(left.freezes, recovered);
  return recovered;
}

/**
 * Puts right what a daemon has left that died while we waited for it. Of a history that can't be used nobody has to hear now:
 * guests come first, and the next command tells it.
 */
export async function recoverFromDeath(config: Config): Promise<void> {
  await withStartedHistoryIfAny(config, async (history, recovered) => {
    if (!(history instanceof UmlsnapError)) await recover(new App(config, history), recovered);
  });
}

/** The same for what must work without a history: when it can't be used, `use` gets the error in its place. */
export async function withStartedHistoryIfAny<T>(
  config: Config,
  use: (history: SqliteHistory | UmlsnapError, recovered: Recovered) => Promise<T>,
): Promise<T> {
  const left = await endWhatWasLeft(config);
  return await withHistoryIfAny(config, async (history) => {
    const recovered = await settle(history, left.pauses);
    settleFreezes(left.freezes, recovered);
    return await use(history, recovered);
  });
}

/**
 * Guests that dead processes of ours left paused or frozen MUST run again before anything else is done that could fail, the
 * opening of the history above all.
 */
async function endWhatWasLeft(
  config: Config,
): Promise<{ pauses: RecoveredPause[]; freezes: RecoveredFreeze[] }> {
  await requireOwnState(config.state);
  const pauses = await recoverPauses(config.state);
  for (const found of pauses) {
    if (found.found === 'mayBePaused') warn(`GUEST ${found.guest} MAY STILL BE PAUSED: ${found.problem}`);
  }
  return { pauses, freezes: await recoverFreezes(config.state) };
}

/** Whoever can change the state directory decides, by a lease, which guest is sent `go`. @throws StateUnusable */
async function requireOwnState(path: string): Promise<void> {
  try {
    await requireOwnPlace(path);
  } catch (error) {
    if (!(error instanceof PathRefused)) throw error;
    throw new UmlsnapError('StateUnusable', { path, problem: problemOf(error) }, error);
  }
}

async function settle(history: SqliteHistory | UmlsnapError, pauses: RecoveredPause[]): Promise<Recovered> {
  try {
    if (!(history instanceof UmlsnapError)) return await recoverAtStart(history, pauses);
  } catch (error) {
    if (!isHistoryFailure(error)) throw error;
  }
  return await recoverWithoutHistory(pauses);
}
