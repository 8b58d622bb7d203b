import { EventEmitter, once } from 'node:events';
import type { Duplex } from 'node:stream';

/** The tty that carries a command holds 4095 bytes, its number and its count of lines too. */
const commandMaxBytes = 4_000;
/** Stands between what a command printed and the line that ends it. */
const endMark = '\u001e';

/**
 * Runs commands inside the guest over its second console (`con1=fd:3`), one at a time. It touches no disk and no
 * network of the guest, so what a test asks does not change what it measures. A paused guest answers after it resumes.
 */
export class GuestShell {
  readonly #stream: Duplex;
  /** An event for each answer, of the name of its command's number. */
  readonly #answers = new EventEmitter();
  #buffered = '';
  #lastId = 0;
  #queue: Promise<unknown> = Promise.resolve();
  /** Whether the guest's own end of the shell runs. */
  isReady = false;

  constructor(stream: Duplex) {
    this.#stream = stream;
    stream.setEncoding('utf8');
    stream.on('data', (text: string) => this.#take(text));
    stream.on('error', () => stream.destroy());
  }

  /**
   * Runs `command` by the guest's sh and gives what it printed (stdout and stderr), without the last newline. What it
   * leaves in the background has to redirect its output.
   * @throws Error when it exits other than 0, or has not answered after `limitMs`
   */
  async run(command: string, limitMs = 60_000): Promise<string> {
    if (Buffer.byteLength(command) > commandMaxBytes)
      throw new Error(`guest.sh takes at most ${commandMaxBytes} bytes: ${command}`);
    const asked = this.#queue.then(() => this.#ask(command, limitMs));
    this.#queue = asked.catch(() => undefined);
    const [output, exitCode] = await asked;
    if (exitCode !== 0) throw new Error(`in the guest, exit ${exitCode}: ${command}\n${output}`);
    return output;
  }

  close(): void {
    this.#stream.destroy();
  }

  #ask(command: string, limitMs: number): Promise<[string, number]> {
    this.#lastId += 1;
    this.#stream.write(`${this.#lastId} ${command.split('\n').length}\n${command}\n`);
    const answer = once(this.#answers, String(this.#lastId), { signal: AbortSignal.timeout(limitMs) });
    return (answer as Promise<[string, number]>).catch(() => {
      throw new Error(`the guest did not answer within ${limitMs} ms: ${command}`);
    });
  }

  #take(text: string): void {
    this.#buffered += text;
    for (;;) {
      const end = this.#buffered.indexOf(endMark);
      const lineEnd = this.#buffered.indexOf('\n', end);
      if (end < 0 || lineEnd < 0) break;
      const [id = '', exitCode] = this.#buffered.slice(end + 1, lineEnd).split(' ');
      const output = this.#buffered.slice(0, end).replace(/\n$/, '');
      this.#buffered = this.#buffered.slice(lineEnd + 1);
      this.#answers.emit(id, output, Number(exitCode));
    }
    if (this.isReady || !/^ready\r?\n/m.test(this.#buffered)) return;
    this.isReady = true;
    this.#buffered = '';
  }
}
