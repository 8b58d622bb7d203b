import Table from 'cli-table3';
import { exitCodeOfSummary, type JobSummary } from '../../jobs/recorded-job.js';
import { asUmlsnapError, explainError } from '../error-text.js';
import { type ExitCode, exitCodeOf } from '../exit-codes.js';
import { printable } from '../mconsole/printable.js';

/** How a command speaks: tables and sentences for people, one JSON object a line for programs. */
export interface Output {
  readonly json: boolean;
  readonly quiet: boolean;
}

/** One object on stdout, for programs only. */
export function emit(output: Output, object: object): void {
  if (output.json) process.stdout.write(`${JSON.stringify(object)}\n`);
}

/** A sentence on stdout, for people only. */
export function tell(output: Output, text: string): void {
  if (!output.json && !output.quiet) process.stdout.write(`${text}\n`);
}

/** What people must see whatever they asked for: on stderr. Some of it is in a guest's own words. */
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
  for (const row of rows) table.push(titles.map((title) => printable(columns[title]?.(row) ?? '')));
  process.stdout.write(`${table.toString()}\n`);
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
