import { Command } from 'commander';
import { completionVerb } from '../../src/cli/completion.js';
import { type Context, contextOf } from '../../src/cli/context.js';
import { doctorVerb } from '../../src/cli/doctor.js';
import { historyVerb } from '../../src/cli/history.js';
import { listVerb } from '../../src/cli/list.js';
import { pinVerb } from '../../src/cli/pin.js';
import { pruneVerb } from '../../src/cli/prune.js';
import { restoreVerb } from '../../src/cli/restore.js';
import { showVerb } from '../../src/cli/show.js';
import { snapshotVerb } from '../../src/cli/snapshot.js';
import { verifyVerb } from '../../src/cli/verify.js';
import { explainError } from '../../src/error-text.js';
import { UmlsnapError } from '../../src/errors.js';
import { exitCodeOf } from '../../src/exit-codes.js';

/** What verbs say to words and options that they refuse, one JSON object a line, of many that are asked at once: CONFIG JSON */

type Verb = (context: Context, ...given: never[]) => unknown;
const verbs: Record<string, Verb> = {
  completion: (_, shell: string) => completionVerb(new Command(), shell),
  doctor: doctorVerb,
  history: historyVerb,
  list: listVerb,
  pin: pinVerb,
  prune: pruneVerb,
  restore: restoreVerb,
  show: showVerb,
  snapshot: snapshotVerb,
  verify: verifyVerb,
};

const [config = '', asked = ''] = process.argv.slice(2);
for (const [verb = '', ...given] of JSON.parse(asked) as string[][]) {
  process.stdout.write(`${JSON.stringify(await refusalBy(verb, given))}\n`);
}

async function refusalBy(verb: string, given: unknown[]): Promise<unknown> {
  try {
    return { exitCode: await verbs[verb]?.(contextOf({ config, quiet: true }), ...(given as never[])) };
  } catch (error) {
    if (!(error instanceof UmlsnapError)) throw error;
    return { exitCode: exitCodeOf(error.code), code: error.code, said: explainError(error) };
  }
}
