import { explainError } from '../error-text.js';
import { type ErrorCode, UmlsnapError } from '../errors.js';
import { type CheckName, type Finding, trouble } from './finding.js';

/** What a backup is refused for as well, by the same look. */
const failsBackups: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  ...(['StoreNotMounted', 'StoreUnusable', 'StoreTooFull', 'DiskUnusable'] as const),
  ...(['GuestOfSeveralUsers', 'GuestProcessNotFound', 'NoSuchUser', 'TooLarge'] as const),
]);

/**
 * Runs one check. What keeps it from finding anything out is its finding: a doctor that fails tells nothing of all the rest,
 * and whatever is wrong with a host is what it is called for. Critical is what fails the next backup in the same way.
 */
export async function runCheck(
  check: CheckName,
  about: string | null,
  look: () => Finding | Promise<Finding>,
): Promise<Finding> {
  try {
    return await look();
  } catch (error) {
    const failsBackup = error instanceof UmlsnapError && failsBackups.has(error.code);
    return trouble(
      { check, about },
      {
        level: failsBackup ? 'critical' : 'unknown',
        what: explainError(error),
        means: failsBackup
          ? 'The next backup fails by it.'
          : 'This could not be found out, and may be in order or not.',
        mend: 'Put right what the message says, and run `umlsnap doctor` again.',
        ...(failsBackup && { facts: { code: error.code, ...error.facts } }),
      },
    );
  }
}
