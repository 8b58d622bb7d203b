import { stateDespiteProblems } from '../config/load-config.js';
import { ControlClient } from '../control/control-client.js';
import type { DaemonStatus, RefusedReload } from '../control/daemon-status.js';
import { explainError } from '../error-text.js';
import { UmlsnapError } from '../errors.js';
import { warn } from '../output.js';
import { formatTime } from './format.js';

/** Of a daemon's config that was refused when it was to be read again. */
export function refusalText({ at, problem }: RefusedReload): string {
  return `Its config was refused at ${formatTime(at)}, and the one before it is in force. ${problem}`;
}

/**
 * The daemon that goes on with the config of before, for what only asks it: whoever has just broken a config file must not lose sight of
 * it. Whatever answers at the socket that the file leads to MUST say that this very file is its config.
 * @param invalid what is wrong with the file, which is told as a warning
 * @throws `invalid`, when there is no such daemon
 */
export async function daemonWithOldConfig(
  invalid: UmlsnapError<'ConfigInvalid'>,
): Promise<{ client: ControlClient; status: DaemonStatus }> {
  const { file } = invalid.facts;
  try {
    const client = new ControlClient(await stateDespiteProblems(file));
    const status = await client.status();
    if (status.configFile !== file) throw invalid;
    warn(`warning: ${explainError(invalid)}`);
    warn(
      `The daemon (pid ${status.pid}) goes on with the config that it read at ${formatTime(status.configReadAt)}.`,
    );
    return { client, status };
  } catch (error) {
    throw error instanceof UmlsnapError ? invalid : error;
  }
}
