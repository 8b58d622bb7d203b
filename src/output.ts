import Table from 'cli-table3';
import { asUmlsnapError, explainError } from './error-text.js';
import { type ExitCode, exitCodeOf } from './exit-codes.js';
import { exitCodeOfSummary, type JobSummary } from './job/recorded-job.js';
import { printable, printableJson } from './mconsole/printable.js';

/**
 * How a command speaks: tables and sentences for people, one JSON object a line for programs. Whatever it says MUST go through here:
 * much of it is in the words of a guest, of a share or of a file's name, and none of that may act on a terminal.
 */
export interface Output {
  readonly json: boolean;
  readonly quiet: boolean;
}

/** One object on stdout, for programs only. */
export function emit(output: Output, object: object): void {
  if (output.json) process.stdout.write(`${printableJson(object)}\n`);
}

/** A sentence on stdout, for people only. */
export function tell(output: Output, text: string): void {
  if (!output.json && !output.quiet) printLine(text);
}

/** What was asked for, on stdout: for people, where that has been seen to, or for a shell. */
export function printLine(text: string): void {
  process.stdout.write(`${printable(text)}\n`);
}

/** A line of progress on stderr, in the place of the line before it or below that. */
export function printProgress(text: string, isOver: boolean): void {
  process.stderr.write(`${isOver ? '\x1b[1A\x1b[2K' : ''}${oneLine(text)}\n`);
}

/** What stands in a line with other things makes none of its own. */
export const oneLine = (text: string) => printable(text).replaceAll('\n', ' ');

/** What people must see whatever they asked for: on stderr. */
export function warn(text: string): void {
  process.stderr.write(`umlsnap: ${printable(text)}\n`);
}

/** Rows as a table for people, or one object a line for programs. */
export function printRows<T extends object>(
  output: Output,
  rows: T[],
  columns: Record<string, (row: T) => string>,
): void {
  if (output.json) {
    for (const row of rows) emit(output, row);
    return;
  }
  const titles = Object.keys(columns);
  const plain = { top: '', 'top-mid': '', 'top-left': '', 'top-right': '', bottom: '', 'bottom-mid': '' };
  const table = new Table({
    head: titles,
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 2 },
    chars: {
      ...plain,
      ...{ 'bottom-left': '', 'bottom-right': '', left: '', 'left-mid': '', mid: '', 'mid-mid': '' },
      ...{ right: '', 'right-mid': '', middle: '' },
    },
  });
  for (const row of rows) table.push(titles.map((title) => oneLine(columns[title]?.(row) ?? '')));
  printLine(table.toString());
}

/** Tells of a failure, and returns the exit code that goes with it. */
export function reportError(output: Output, thrown: unknown): ExitCode {
  const error = asUmlsnapError(thrown);
  const message = explainError(error);
  emit(output, { type: 'error', code: error.code, message, facts: error.facts });
  warn(message);
  if (error.code === 'Internal' && error.cause instanceof Error) warn(error.cause.stack ?? '');
  return exitCodeOf(error.code);
}

/** The exit code of a job that has a summary; its warnings and its failure are told. */
export function reportSummary(output: Output, summary: JobSummary): ExitCode {
  emit(output, summary);
  for (const warning of summary.warnings) warn(`warning: ${warning}`);
  if (summary.error) warn(summary.error.message);
  return exitCodeOfSummary(summary);
}
