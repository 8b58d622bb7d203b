import { createInterface, type Interface } from 'node:readline';
import { isError } from '../errors.js';
import { type ExitCode, exitCodes } from '../exit-codes.js';
import { completeConsoleLine } from '../mconsole/console-completion.js';
import { printable } from '../mconsole/printable.js';
import { emit, type Output, printLine, reportError, warn } from '../output.js';
import type { ConsoleReply, ConsoleSession } from './console-session.js';

const historyLines = 1000;

/**
 * Reads lines from a terminal or a pipe until `quit` or the end, and answers as `uml_mconsole` does: `OK …` or `ERR …`. What
 * was typed is remembered for as long as the console is open.
 * @param guests names of the config, for completion
 * @returns from a pipe a failure if any line failed: nobody has seen it
 */
export async function runConsole(
  session: ConsoleSession,
  guests: string[],
  output: Output,
): Promise<ExitCode> {
  const isTerminal = process.stdin.isTTY && process.stdout.isTTY && !output.json;
  const lines = createInterface({
    input: process.stdin,
    ...(isTerminal && { output: process.stdout, historySize: historyLines, removeHistoryDuplicates: true }),
    terminal: isTerminal,
    completer: (line: string) => completeConsoleLine(line, guests),
  });
  const waiting = watchInterrupts(lines);
  const prompt = () => {
    if (!isTerminal) return;
    lines.setPrompt(`(${printable(session.name)}) `);
    lines.prompt();
  };
  let failures = 0;
  let wasLeft = false;
  prompt();
  for await (const line of lines) {
    const outcome = await waiting.during((signal) => answerLine(session, line, output, signal));
    if (outcome === 'over') {
      wasLeft = true;
      break;
    }
    if (outcome === 'failed') failures += 1;
    prompt();
  }
  lines.close();
  if (isTerminal && !wasLeft) printLine('');
  return failures > 0 && !isTerminal ? exitCodes.failed : exitCodes.done;
}

async function answerLine(
  session: ConsoleSession,
  line: string,
  output: Output,
  signal: AbortSignal,
): Promise<'done' | 'failed' | 'over'> {
  const guest = session.name;
  try {
    const reply = await session.execute(line, signal);
    print(reply, { guest, command: line.trim() }, output);
    return reply.isOver ? 'over' : 'done';
  } catch (error) {
    if (signal.aborted) warn('gave up waiting for the answer: the command may still take effect');
    else if (isError(error, 'CommandRefused') && !output.json) printLine(`ERR ${error.facts.text}`);
    else reportError(output, error);
    return 'failed';
  }
}

function print(
  { said, added }: ConsoleReply,
  asked: { guest: string; command: string },
  output: Output,
): void {
  if (said === null && added === null) return;
  emit(output, { type: 'summary', kind: 'mconsole', ...asked, text: [said, added].filter(isThere).join('') });
  if (output.json) return;
  if (said !== null) printLine(`OK ${said}`);
  if (added !== null) printLine(added);
}

const isThere = (text: string | null) => text !== null;

/** Ctrl-C ends the waiting for an answer, or empties the line; it does not end the console. */
function watchInterrupts(lines: Interface) {
  let current: AbortController | undefined;
  lines.on('SIGINT', () => {
    if (current) current.abort();
    else lines.write(null, { ctrl: true, name: 'u' });
  });
  return {
    async during<T>(use: (signal: AbortSignal) => Promise<T>): Promise<T> {
      current = new AbortController();
      try {
        return await use(current.signal);
      } finally {
        current = undefined;
      }
    },
  };
}
