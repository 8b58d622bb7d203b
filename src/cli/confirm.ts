import { createInterface } from 'node:readline/promises';
import { UmlsnapError } from '../errors.js';

/**
 * Whether a person says yes, on a terminal; elsewhere the command line has to.
 * @throws Usage where nobody can be asked
 */
export async function confirm(question: string, { yes = false }: { yes?: boolean }): Promise<boolean> {
  if (yes) return true;
  if (!process.stdin.isTTY || !process.stderr.isTTY) {
    throw new UmlsnapError('Usage', { problem: `${question} There is no terminal to ask on: say --yes.` });
  }
  const asking = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return /^y(es)?$/i.test((await asking.question(`${question} [y/N] `)).trim());
  } finally {
    asking.close();
  }
}
