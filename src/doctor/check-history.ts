import { explainError } from '../error-text.js';
import { UmlsnapError } from '../errors.js';
import { type Finding, fine, trouble } from './finding.js';

const about = { check: 'history', about: null } as const;

export interface CheckableHistory {
  /** What SQLite finds wrong with the file, a line each. @throws HistoryUnusable, HistoryLocked */
  integrityProblems(): Promise<string[]>;
}

const maxTold = 3;

/** Has the whole file of the history checked. @param history null: there is none yet; an error says why it can't be used */
export async function checkHistory(history: CheckableHistory | UmlsnapError | null): Promise<Finding> {
  if (history === null) return fine(about, 'There is no history yet: the first command makes it.');
  if (history instanceof UmlsnapError) return damaged(explainError(history));
  const problems = await history.integrityProblems();
  if (problems.length === 0) return fine(about, 'The history is sound.');
  return damaged(`The history is damaged: ${problems.slice(0, maxTold).join('; ')}.`, { problems });
}

function damaged(what: string, facts: Record<string, unknown> = {}): Finding {
  return trouble(about, {
    level: 'critical',
    what,
    means: 'No backup runs without a history that can be written. Snapshots are safe in their stores.',
    mend: 'Look at its disk and its rights. A damaged one: stop the daemon, move history.db* away, and run `umlsnap recover`, which lists the snapshots again.',
    facts,
  });
}
