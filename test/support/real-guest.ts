import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { EventEmitter, once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { afterOurDeath } from './death-watch.js';
import { type DiskOptions, type GuestDisk, makeDisks } from './guest-disks.js';
import { killSession, processesOfSession } from './guest-processes.js';
import { pidOf } from './pid-of.js';
import { runTool } from './run-tool.js';
import { testCacheDir } from './test-cache.js';
import { waitFor } from './wait-for.js';
import { buildShim, needsXstateShim } from './shims.js';

export interface BootOptions extends DiskOptions {
  /** The guest makes a directory of its own in it: `dir/UMID`, its home. Keep it short, sockets have 107 bytes. */
  dir: string;
  umid?: string;
  memMiB?: number;
  /** Boots these images as they are, instead of building any: what a restore gave. */
  existingDisks?: GuestDisk[];
  notifySocket?: string;
  /**
   * Boots without a lock on its disks (flag `c` of `ubd`), for a guest that is to reboot. On a busy host a UML that
   * reboots may be there again before its own I/O helper of before is gone, which has the disk still locked: it
   * panics then for want of a root filesystem, with us or without (seen in 4 of about 30 reboots).
   */
  unlockedDisks?: boolean;
  extraArgs?: string[];
  /**
   * A line for a shell that boots it instead; of all else here it needs the umid and the disks. bash becomes its last command: left
   * with a parent in its session, UML makes a session of its own.
   */
  commandLine?: string;
  bootLimitMs?: number;
}

export type RealGuest = ReturnType<typeof describeGuest>;

/** Boots a guest, runs `use`, and ends the guest with all of its processes, whatever happened. */
export async function withGuest<T>(options: BootOptions, use: (guest: RealGuest) => Promise<T>): Promise<T> {
  const guest = await bootGuest(options);
  try {
    return await use(guest);
  } finally {
    await guest.kill();
  }
}

/**
 * Boots a real User-Mode Linux and returns when commands can be run in it. Whoever boots has to `halt` or `kill`; the
 * guests of a test process that dies are killed after it.
 * @throws Error with the end of its console when it does not come up
 */
export async function bootGuest(options: BootOptions): Promise<RealGuest> {
  const umid = options.umid ?? `g${randomBytes(3).toString('hex')}`;
  const home = join(options.dir, umid);
  await mkdir(home, { recursive: true });
  const disks = options.existingDisks ?? (await makeDisks(options, home));
  const child = await startKernel(umid, home, disks, options);
  const shell = new GuestShell(child.stdio[3] as Duplex);
  const guest = describeGuest(pidOf(child), shell, umid, home, disks);
  const isUp = () => {
    if (child.exitCode !== null || child.signalCode !== null) throw new Error('its main process ended');
    return shell.isReady && existsSync(guest.socketPath);
  };
  try {
    await waitFor('the guest to take commands', isUp, { limitMs: options.bootLimitMs ?? 90_000 });
    for (const [n, { device }] of options.existingDisks ? [] : disks.entries()) {
      if (n > 0) await guest.sh(`mkdir -p /${device} && mount /dev/ubd${'abcdefghijklmnop'[n]} /${device}`);
    }
    return guest;
  } catch (error) {
    await guest.kill();
    const tail = (await guest.console()).split('\n').slice(-30).join('\n');
    throw new Error(`guest ${umid} did not boot: its console ends with\n${tail}`, { cause: error });
  }
}

async function startKernel(
  umid: string,
  home: string,
  disks: GuestDisk[],
  { memMiB = 96, unlockedDisks, notifySocket, extraArgs = [], commandLine }: BootOptions,
): Promise<ChildProcess> {
  const args = [
    ...[`mem=${memMiB}M`, `umid=${umid}`, 'root=/dev/ubda', 'rw', 'con=null', 'con0=null,fd:2', 'con1=fd:3'],
    ...disks.map(
      ({ device, path, backing }) =>
        `${device}${unlockedDisks ? 'c' : ''}=${backing ? `${path},${backing}` : path}`,
    ),
    ...(notifySocket ? [`mconsole=notify:${notifySocket}`] : []),
    ...extraArgs,
  ];
  const shim = (await needsXstateShim())
    ? { LD_PRELOAD: await buildShim('xstate-shim', await testCacheDir()) }
    : {};
  const console = await open(consoleLog(home), 'w');
  try {
    const [program, given] = commandLine ? ['bash', ['-c', commandLine]] : ['linux.uml', args];
    const child = spawn(program, given, {
      cwd: home,
      detached: true, // a session of its own: that is how all of its processes are found
      env: { ...process.env, HOME: home, ...shim },
      stdio: ['ignore', console.fd, console.fd, 'pipe'],
    });
    await once(child, 'spawn');
    child.unref();
    return child;
  } finally {
    await console.close();
  }
}

const consoleLog = (home: string) => join(home, 'console.log');

function describeGuest(pid: number, shell: GuestShell, umid: string, home: string, disks: GuestDisk[]) {
  const socketPath = join(home, '.uml', umid, 'mconsole');
  const watch = afterOurDeath('kill -s KILL -- "-$1"', [String(pid)]);
  const console = () => readFile(consoleLog(home), 'utf8');
  const kill = async () => {
    await killSession(pid);
    watch.cancel();
    shell.close();
  };
  /** One mconsole command through `uml_mconsole`, none of our own code between. @throws Error when refused */
  const mconsole = async (command: string) => {
    const output = (await runTool('uml_mconsole', [socketPath, command], 20_000)).toString();
    return output.replace(/^OK ?/, '').trimEnd();
  };
  return {
    ...{ umid, home, socketPath, disks, mconsole, kill },
    /** The main process, which is also the id of the guest's session. */
    pid,
    /** That of ubd0: the image, or the COW file. */
    diskPath: disks[0]?.path ?? '',
    /** Every living process of the guest; empty when it is dead. */
    processes: () => processesOfSession(pid),
    console,
    waitForConsole: (pattern: RegExp, limitMs = 30_000) => {
      const found = async () => pattern.exec(await console())?.[0];
      return waitFor(`${pattern} on the console of ${umid}`, found, { limitMs });
    },
    /** Runs a command in the guest, gives its output. @throws Error on a non-zero exit */
    sh: (command: string, limitMs?: number) => shell.run(command, limitMs),
    /** Ends the guest by mconsole, or by kill when it does not answer. */
    halt: async () => {
      await mconsole('halt').catch(() => undefined); // a guest that can't be asked to is killed
      await kill();
    },
  };
}

/** The tty that carries a command holds 4095 bytes, its number and its count of lines too. */
const commandMaxBytes = 4_000;
/** Stands between what a command printed and the line that ends it. */
const endMark = '\u001e';

/**
 * Runs commands inside the guest over its second console (`con1=fd:3`), one at a time. It touches no disk and no
 * network of the guest, so what a test asks does not change what it measures. A paused guest answers after it resumes.
 */
class GuestShell {
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
