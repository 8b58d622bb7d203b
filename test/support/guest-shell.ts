import type { Duplex } from 'node:stream';

/** The tty that carries a command holds 4095 bytes; base64 makes four of three. */
const commandMaxBytes = 2_900;
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
      this.#stream.write(`${id} ${Buffer.from(command).toString('base64')}\n`);
    });
  }

  #take(text: string): void {
    const lines = (this.#buffered + text).split('\n');
    this.#buffered = lines.pop() ?? '';
    for (const line of lines) this.#takeLine(line.trim());
  }

  #takeLine(line: string): void {
    if (line === 'ready') {
      this.#sayReady();
      return;
    }
    const [id, encoded = ''] = line.split(' ');
    const resolve = this.#waiting.get(Number(id));
    this.#waiting.delete(Number(id));
    resolve?.(decode(encoded));
  }
}

function decode(encoded: string): Answer {
  const text = Buffer.from(encoded, 'base64').toString('utf8');
  const cut = text.lastIndexOf('\n');
  return {
    output: text.slice(0, Math.max(cut, 0)).replace(/\n$/, ''),
    exitCode: Number(text.slice(cut + 1)),
  };
}
