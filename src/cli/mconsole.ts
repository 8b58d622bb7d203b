import { isError, UmlsnapError } from '../errors.js';
import { type ExitCode, exitCodes } from '../exit-codes.js';
import { findGuestConsole } from '../guest/guest-console.js';
import { findMconsoleSocket } from '../mconsole/socket-lookup.js';
import { emit, printLine } from '../output.js';
import { ConsoleSession } from './console-session.js';
import { runConsole } from './console-terminal.js';
import { type Context, configIfAny } from './context.js';

/**
 * `umlsnap mconsole GUEST [COMMAND...]`: any mconsole command by hand, or without one the console itself. GUEST is of the
 * config, a umid, or a socket's path.
 */
export async function mconsoleVerb(context: Context, guest: string, command: string[]): Promise<ExitCode> {
  // A guest's console needs no config: only where there is one, its names count first.
  const guests = (await configIfAny(context))?.guests ?? {};
  const findSocket = async (name: string) => {
    const config = Object.hasOwn(guests, name) ? guests[name] : undefined;
    if (config) return await findGuestConsole(config);
    try {
      return await findMconsoleSocket(name);
    } catch (error) {
      if (!isError(error, 'NoMconsoleSocket')) throw error;
      const lookedIn = `the config, and no console at ${error.facts.tried.join(', ')} (\`umlsnap discover\` shows all that there are)`;
      throw new UmlsnapError('NoSuchGuest', { guest: name, known: Object.keys(guests), lookedIn }, error);
    }
  };
  const session = await ConsoleSession.open(findSocket, guest);
  if (command.length === 0) return await runConsole(session, Object.keys(guests), context.output);
  const line = command.join(' ');
  const { said, added } = await session.execute(line);
  const text = [said, added].filter((part) => part !== null).join('');
  emit(context.output, { type: 'summary', kind: 'mconsole', guest, command: line, text });
  const isSilent = context.output.json || (said === null && added === null);
  if (!isSilent) printLine(text.replace(/\n$/, ''));
  return exitCodes.done;
}
