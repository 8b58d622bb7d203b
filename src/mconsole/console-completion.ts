import { procFiles } from './commands.js';

const commands = [
  ...['version', 'help', 'halt', 'reboot', 'cad', 'stop', 'go', 'quit', 'int', 'mconsole-version'],
  ...['config ', 'remove ', 'sysrq ', 'log ', 'log -f ', 'proc ', 'stack ', 'switch '],
];
const numbered = (name: string, count: number) => Array.from({ length: count }, (_, n) => `${name}${n}`);
const devices = [...numbered('ubd', 16), ...numbered('eth', 4), ...numbered('con', 8), ...numbered('ssl', 8)];
const sysrqKeys = [...'0123456789bcefijmnopqrstuw'];

/**
 * What a line may go on as, in the form that readline wants: the candidates, and the part of the line that they replace.
 * @param guests names that `switch` may be given
 */
export function completeConsoleLine(line: string, guests: readonly string[]): [string[], string] {
  const [, head = '', word = ''] = /^(\S+\s+)?(.*)$/s.exec(line) ?? [];
  if (head === '' || line.startsWith('log ')) return [startingWith(line, commands), line];
  return [startingWith(word, argumentsOf(head.trim(), guests)), word];
}

function argumentsOf(command: string, guests: readonly string[]): readonly string[] {
  switch (command) {
    case 'config':
      return [...devices, 'mem'];
    case 'remove':
      return devices;
    case 'sysrq':
      return sysrqKeys;
    case 'proc':
      return procFiles;
    case 'switch':
      return guests;
    default:
      return [];
  }
}

const startingWith = (start: string, words: readonly string[]) =>
  words.filter((word) => word.startsWith(start));
