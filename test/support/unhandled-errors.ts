import { writeFileSync } from 'node:fs';
import type { Reporter } from 'vitest/node';

/** Where the count goes; set by `npm test`. */
export const countFileVariable = 'UMLSNAP_UNHANDLED_ERRORS';

/** Counts the errors that belong to no test, which vitest's json report does not tell. */
export default class UnhandledErrors implements Reporter {
  onTestRunEnd(_: unknown, unhandledErrors: readonly unknown[]): void {
    const file = process.env[countFileVariable];
    if (file !== undefined) writeFileSync(file, String(unhandledErrors.length));
  }
}
