import { StringDecoder } from 'node:string_decoder';
import { printable } from '../mconsole/printable.js';

/** Of the console; what is older is dropped. */
const maxTailChars = 64 * 1024;
/** A line that does not end is cut. */
const maxLineChars = 4096;

/**
 * What a drill's guest says on its console and in its notifications. All of it is untrusted: it is bounded, and made
 * harmless for a terminal.
 */
export class ConsoleWatch {
  readonly #decoder = new StringDecoder('utf8');
  /** null: nothing is looked for, or it has been found. */
  #isExpected: ((line: string) => boolean) | null;
  #tail = '';
  /** The line that has not ended yet, as it came. */
  #line = '';
  #foundLine: string | null = null;

  constructor(expect: string | null) {
    this.#isExpected = expect === null ? null : matcherOf(expect);
  }

  /** The first line that held what is expected; also one that has not ended yet, such as a prompt. */
  get foundLine(): string | null {
    return this.#foundLine;
  }

  /** The console's end, its newest lines. */
  get tail(): string {
    return this.#tail;
  }

  takeConsole(bytes: Buffer): void {
    const text = this.#decoder.write(bytes);
    this.#tail = (this.#tail + printable(text)).slice(-maxTailChars);
    if (this.#isExpected === null) return;
    // An escape sequence may have come in two pieces: a line is made harmless as a whole.
    const lines = this.#line + text;
    this.#look(lines);
    this.#line = lines.slice(lines.lastIndexOf('\n') + 1).slice(0, maxLineChars);
  }

  takeNotification(text: string): void {
    this.#look(text);
  }

  #look(text: string): void {
    const isExpected = this.#isExpected;
    if (isExpected === null) return;
    const line = printable(text).split('\n').find(isExpected);
    if (line === undefined) return;
    this.#foundLine = line.slice(0, maxLineChars).trim();
    this.#isExpected = null;
  }
}

/**
 * Whether a line holds a text in which `*` stands for anything. No regular expression: what a guest writes into its console
 * must not be able to hold us up, and this takes a time that grows with the line only. Pure.
 */
export function matcherOf(expect: string): (line: string) => boolean {
  const parts = expect.split('*').filter((part) => part !== '');
  return (line) => {
    let from = 0;
    for (const part of parts) {
      const at = line.indexOf(part, from);
      if (at === -1) return false;
      from = at + part.length;
    }
    return true;
  };
}

const maxKeptLines = 40;
const maxKeptChars = 4000;

/** The newest lines of a console, as they are kept in the history. Pure. */
export function keptLines(tail: string): string[] {
  return tail
    .slice(-maxKeptChars)
    .split('\n')
    .filter((line) => line.trim() !== '')
    .slice(-maxKeptLines);
}
