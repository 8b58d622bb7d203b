import type { Duplex } from 'node:stream';

/** The tty that carries a command holds 4095 bytes, its number and its count of lines too. */
const commandMaxBytes = 4_000;
/** Stands between what a command printed and the line that ends it. */
const endMark = '\u001e';
const defaultLimitMs = 60_000;

interface Answer {
  output: string;
  exitCode: number;
}

/**
 * Runs commands inside the guest over its second console (`con1=fd:3`), one at a time. It touches no disk and no
 * network of the guest, so what a test asks does not change what it measures. A paused guest answers after it resumes.
 */
export class GuestShell {
  readonly #stream: Duplex;
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  #buffered = '';
  #lastId = 0;
  #isReady = false;
  #queue: Promise<unknown> = Promise.resolve();
  #sayReady: () => void = () => {};
  /** Resolves when the guest's own end of the shell runs. */
  readonly ready: Promise<void>;

  constructor(stream: Duplex) {
    this.#stream = stream;
    this.ready = new Promise((resolve) => {
      this.#sayReady = resolve;
    });
    stream.setEncoding('utf8');
    stream.on('data', (text: string) => this.#take(text));
    stream.on('error', () => stream.destroy());
  }

  /**
   * Runs `command` by the guest's sh and gives what it printed (stdout and stderr), without the last newline. What it
   * leaves in the background has to redirect its output.
   * @throws Error when it exits other than 0, or has not answered after `limitMs`
   */
  run(command: string, limitMs = defaultLimitMs): Promise<string> {
    if (Buffer.byteLength(command) > commandMaxBytes) {
      return Promise.reject(new Error(`guest.sh takes at most ${commandMaxBytes} bytes: ${command}`));
    }
    const result = this.#queue.then(() => this.#runNow(command, limitMs));
    this.#queue = result.catch(() => undefined);
    return result;
  }

  close(): void {
    this.#stream.destroy();
  }

  async #runNow(command: string, limitMs: number): Promise<string> {
    const { output, exitCode } = await this.#ask(command, limitMs);
    if (exitCode !== 0) throw new Error(`in the guest, exit ${exitCode}: ${command}\n${output}`);
    return output;
  }

  #ask(command: string, limitMs: number): Promise<Answer> {
    this.#lastId += 1;
    const id = this.#lastId;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(id);
        reject(new Error(`the guest did not answer within ${limitMs} ms: ${command}`));
      }, limitMs);
      this.#waiting.set(id, (answer) => {
        clearTimeout(timer);
        resolve(answer);
      });
      this.#stream.write(`${id} ${command.split('\n').length}\n${command}\n`);
    });
  }

  #take(text: string): void {
    this.#buffered += text;
    for (;;) {
      const end = this.#buffered.indexOf(endMark);
      const lineEnd = this.#buffered.indexOf('\n', end);
      if (end < 0 || lineEnd < 0) break;
      const [id, exitCode] = this.#buffered
        .slice(end + 1, lineEnd)
        .split(' ')
        .map(Number);
      const output = this.#buffered.slice(0, end).replace(/\n$/, '');
      this.#buffered = this.#buffered.slice(lineEnd + 1);
      this.#waiting.get(id ?? Number.NaN)?.({ output, exitCode: exitCode ?? Number.NaN });
      this.#waiting.delete(id ?? Number.NaN);
    }
    if (!this.#isReady && /^ready\r?\n/m.test(this.#buffered)) {
      this.#isReady = true;
      this.#buffered = '';
      this.#sayReady();
    }
  }
}
