import { findConfigFile } from '../config/find-config-file.js';
import { loadConfig } from '../config/load-config.js';
import { isError, UmlsnapError } from '../errors.js';
import { type ExitCode, exitCodes } from '../exit-codes.js';
import { MconsoleClient } from '../mconsole/mconsole-client.js';
import { printable } from '../mconsole/printable.js';
import { findMconsoleSocket } from '../mconsole/socket-lookup.js';
import type { Context } from './context.js';
import { refuseHarm } from './mconsole-refusals.js';
import { emit } from './output.js';

const timeoutMs = 10_000;

/** `umlsnap mconsole GUEST COMMAND...`: any mconsole command by hand; GUEST is of the config, a umid, or a socket's path. */
export async function mconsoleVerb(context: Context, guest: string, command: string[]): Promise<ExitCode> {
  if (command.length === 0)
    throw new UmlsnapError('Usage', { problem: 'mconsole needs a command: try `help`.' });
  const socketPath = await findMconsoleSocket(await consoleOf(context, guest));
  await refuseHarm(socketPath, command.join(' '));
  const client = await MconsoleClient.open(socketPath);
  try {
    const text = await client.request(command.join(' '), { timeoutMs });
    emit(context.output, { type: 'summary', kind: 'mconsole', guest, command: command.join(' '), text });
    if (!context.output.json) process.stdout.write(`${printable(text).replace(/\n$/, '')}\n`);
    return exitCodes.done;
  } finally {
    client.close();
  }
}

/** A guest's console needs no config: only where there is one, its names count first. */
async function consoleOf(context: Context, guest: string): Promise<string> {
  try {
    const config = await loadConfig(await findConfigFile(context.options.config));
    return Object.hasOwn(config.guests, guest) ? (config.guests[guest]?.mconsole ?? guest) : guest;
  } catch (error) {
    if (isError(error, 'ConfigNotFound') && context.options.config === undefined) return guest;
    throw error;
  }
}
