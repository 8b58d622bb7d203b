import { maxCommandBytes } from './packet.js';

/** A line typed at a console: for us, as `uml_mconsole` has them, or to be sent to the guest as it stands. */
export type ConsoleCommand =
  | { kind: 'nothing' }
  | { kind: 'quit' }
  | { kind: 'help' }
  | { kind: 'clientVersion' }
  | { kind: 'interrupt' }
  | { kind: 'switch'; to: string }
  | { kind: 'log'; text: string }
  | { kind: 'logFile'; path: string }
  | { kind: 'send'; command: string };

/** Reads a line. Spaces at its end are what a completion has left there; an empty line is for nobody. */
export function readConsoleLine(line: string): ConsoleCommand {
  const command = line.trimEnd();
  const [, word = '', rest = ''] = /^(\S*)\s*(.*)$/s.exec(command) ?? [];
  switch (word) {
    case '':
      return command === '' ? { kind: 'nothing' } : { kind: 'send', command };
    case 'quit':
      return { kind: 'quit' };
    case 'help':
      return { kind: 'help' };
    case 'mconsole-version':
      return { kind: 'clientVersion' };
    case 'int':
      return { kind: 'interrupt' };
    case 'switch':
      return { kind: 'switch', to: rest };
    case 'log': {
      const path = /^-f(?:\s+(.*))?$/s.exec(rest);
      return path ? { kind: 'logFile', path: path[1] ?? '' } : { kind: 'log', text: rest };
    }
    default:
      return { kind: 'send', command };
  }
}

/** What `help` adds to the guest's own. */
export const consoleHelp = `Additional local mconsole commands:
    quit - Quit mconsole
    switch <guest> - Switch control to the given guest: a name in the config, a umid, or a socket's path
    log -f <filename> - use contents of <filename> as UML log messages
    mconsole-version - version of this mconsole program
    int - Interrupt the UML: SIGINT to its process, which ends it without a sync`;

const prefix = 'log ';
const maxTextBytes = maxCommandBytes - prefix.length;

/**
 * The requests that put a text into the guest's kernel log: each as long as a request may be, and cut between lines where
 * that is possible, for the kernel begins a new entry with each. The last one MUST end its line, or what is left over comes
 * back in the answer to the next `sysrq` (uml-facts §2).
 */
export function logRequests(text: string): string[] {
  const requests: string[] = [];
  let left = text.endsWith('\n') ? text : `${text}\n`;
  while (left !== '') {
    const part = firstPart(left);
    requests.push(prefix + part);
    left = left.slice(part.length);
  }
  return requests;
}

function firstPart(text: string): string {
  if (Buffer.byteLength(text) <= maxTextBytes) return text;
  let bytes = 0;
  let length = 0;
  for (const character of text) {
    bytes += Buffer.byteLength(character);
    if (bytes > maxTextBytes) break;
    length += character.length;
  }
  const lastLineEnd = text.lastIndexOf('\n', length - 1);
  return text.slice(0, lastLineEnd >= 0 ? lastLineEnd + 1 : length);
}
