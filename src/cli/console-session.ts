import { readFile } from 'node:fs/promises';
import { basename, dirname, posix } from 'node:path';
import { problemOf, UmlsnapError } from '../errors.js';
import { findConsoleProcess } from '../guest/console-process.js';
import { lookWhetherStopped } from '../guest/stop-probe.js';
import { withAbsoluteDisks } from '../mconsole/absolute-disks.js';
import { consoleHelp, logRequests, readConsoleLine } from '../mconsole/console-command.js';
import { MconsoleClient } from '../mconsole/mconsole-client.js';

/** What came of a line. */
export interface ConsoleReply {
  /** What the guest answered; null: it was not asked. */
  said: string | null;
  /** What we have to say ourselves, one line or more. */
  added: string | null;
  /** The console is to be left. */
  isOver: boolean;
}

const timeoutMs = 10_000;

/**
 * A guest's console, line by line. Each line goes to whatever listens at the path by then, as with `uml_mconsole`: a guest
 * that rebooted has a new socket there.
 */
export class ConsoleSession {
  readonly #findSocket: (name: string) => Promise<string>;
  #name: string;
  #socketPath: string;

  private constructor(findSocket: (name: string) => Promise<string>, name: string, socketPath: string) {
    this.#findSocket = findSocket;
    this.#name = name;
    this.#socketPath = socketPath;
  }

  /**
   * @param findSocket the path of the socket of a guest that a person names
   * @throws NoMconsoleSocket, and what findSocket throws
   */
  static async open(findSocket: (name: string) => Promise<string>, name: string): Promise<ConsoleSession> {
    return new ConsoleSession(findSocket, name, await findSocket(name));
  }

  /** The guest that lines go to, as a person has named it; of a path, the umid in it. */
  get name(): string {
    return this.#name.includes('/') ? basename(dirname(this.#socketPath)) : this.#name;
  }

  /**
   * Does what a line says. Once the signal is aborted, an answer is no longer waited for.
   * @throws what MconsoleClient.request throws, Usage for what would harm the guest or can't be read, CommandFailed
   */
  async execute(line: string, signal?: AbortSignal): Promise<ConsoleReply> {
    const command = readConsoleLine(line);
    switch (command.kind) {
      case 'nothing':
        return ours(null);
      case 'quit':
        return { said: null, added: null, isOver: true };
      case 'clientVersion':
        return ours('umlsnap mconsole client version 2');
      case 'switch':
        return await this.#switchTo(command.to);
      case 'interrupt':
        return this.#interrupt();
      case 'help':
        return { said: await this.#ask(['help'], signal), added: consoleHelp, isOver: false };
      case 'log':
        return theirs(await this.#ask(logRequests(command.text), signal));
      case 'logFile':
        return theirs(await this.#ask(logRequests(await readText(command.path)), signal));
      case 'send': {
        const sent = await withAbsoluteDisks(command.command);
        await refuseHarm(this.#socketPath, sent);
        return theirs(await this.#ask([sent], signal));
      }
    }
  }

  async #ask(requests: string[], signal: AbortSignal | undefined): Promise<string> {
    const client = await MconsoleClient.open(this.#socketPath);
    try {
      let said = '';
      for (const request of requests)
        said += await client.request(request, { timeoutMs, ...(signal && { signal }) });
      return said;
    } finally {
      client.close();
    }
  }

  /** Only to where there is a socket; otherwise we stay where we are. */
  async #switchTo(name: string): Promise<ConsoleReply> {
    if (name === '') throw new UmlsnapError('Usage', { problem: '`switch` needs the name of a guest.' });
    const socketPath = await this.#findSocket(name);
    (await MconsoleClient.open(socketPath)).close();
    this.#name = name;
    this.#socketPath = socketPath;
    return ours(`Switched to '${name}'`);
  }

  /** The process that holds the socket MUST be the one that is signalled: a pid file may name any other. */
  #interrupt(): ConsoleReply {
    const main = findConsoleProcess(this.#socketPath);
    if (!main) {
      const problem = 'the process behind the console is not known for sure, so no signal was sent';
      throw new UmlsnapError('CommandFailed', { command: 'int', exitCode: null, problem });
    }
    process.kill(main.pid, 'SIGINT');
    return ours(`Sent SIGINT to process ${main.pid}`);
  }
}

const ours = (added: string | null): ConsoleReply => ({ said: null, added, isOver: false });
const theirs = (said: string): ConsoleReply => ({ said, added: null, isOver: false });

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw new UmlsnapError('Usage', { problem: `log -f ${path}: ${problemOf(error)}` }, error);
  }
}

/**
 * Refuses by hand what harms a guest for good: files of /proc that never end, and changes of a stopped guest's devices,
 * which let it run in the middle of whatever it was stopped for, and can wedge it (uml-facts, fact 6 and §2). A kernel looks
 * at the first letters of a command only, so that `removeubd0` removes as well.
 * @throws Usage
 */
async function refuseHarm(socketPath: string, command: string): Promise<void> {
  const file = /^proc\s*(.*)$/s.exec(command)?.[1];
  if (file !== undefined && /^\/(kcore|kmsg|kpage\w+)$/.test(posix.normalize(`/${file.trim()}`))) {
    throw new UmlsnapError('Usage', {
      problem: `\`${command}\` never ends its answer and would block the console.`,
    });
  }
  const changesDevice = /^config.*=/s.test(command) || command.startsWith('remove');
  if (changesDevice && (await isStopped(socketPath))) {
    const problem = `The guest is stopped: \`${command}\` would let it run, and could wedge it. Send \`go\` first.`;
    throw new UmlsnapError('Usage', { problem });
  }
}

async function isStopped(socketPath: string): Promise<boolean> {
  const main = findConsoleProcess(socketPath);
  return main !== undefined && (await lookWhetherStopped(main)) === 'stopped';
}
