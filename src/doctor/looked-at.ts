import { explainError } from '../error-text.js';
import { type CheckName, type Finding, trouble } from './finding.js';

/**
 * Runs one check. What keeps it from finding anything out is its finding: a doctor that fails tells nothing of all the rest,
 * and whatever is wrong with a host is what it is called for.
 */
export async function lookedAt(
  check: CheckName,
  about: string | null,
  look: () => Finding | Promise<Finding>,
): Promise<Finding> {
  try {
    return await look();
  } catch (error) {
    return trouble(
      { check, about },
      {
        level: 'unknown',
        what: explainError(error),
        means: 'This could not be found out, and may be in order or not.',
        mend: 'Put right what the message says, and run `umlsnap doctor` again.',
      },
    );
  }
}
