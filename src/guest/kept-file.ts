import { closeSync, openSync, readSync } from 'node:fs';
import { errnoOf } from '../errors.js';

const buffer = Buffer.alloc(4096);

/**
 * A small file of /proc that is read again and again, by a descriptor that stays open: a look is one system call instead of
 * four, and the process is the one that was there at the start, whoever has its pid by now.
 */
export class KeptFile {
  #fd: number | undefined;
  readonly #failure: 'gone' | 'forbidden' | undefined;

  constructor(path: string) {
    try {
      this.#fd = openSync(path, 'r');
    } catch (error) {
      this.#failure = failureOf(error);
    }
  }

  /** What it says now; `gone` with its process, `forbidden` when it is not for us. */
  read(): { text: string } | 'gone' | 'forbidden' {
    if (this.#fd === undefined) return this.#failure ?? 'forbidden';
    try {
      return { text: buffer.toString('latin1', 0, readSync(this.#fd, buffer, 0, buffer.length, 0)) };
    } catch (error) {
      return failureOf(error);
    }
  }

  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }
}

function failureOf(error: unknown): 'gone' | 'forbidden' {
  return ['ENOENT', 'ESRCH'].includes(errnoOf(error) ?? '') ? 'gone' : 'forbidden';
}
