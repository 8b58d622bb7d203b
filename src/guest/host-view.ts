import type { GuestProcesses, IoTask } from './guest-processes.js';
import type { IoLook, IoView } from './io-drain.js';
import { KeptFile } from './kept-file.js';
import { type StopSign, type StopView, stopSignOf } from './stop-probe.js';

/** What the host sees of a guest whatever its console says, at a few microseconds a look: the guest may be paused. */
export class HostView implements IoView, StopView {
  readonly mainPid: number;
  readonly #main: KeptFile;
  readonly #tasks: WatchedTask[];

  /** To be closed. */
  constructor({ main, ioTasks }: Pick<GuestProcesses, 'main' | 'ioTasks'>) {
    this.mainPid = main.pid;
    this.#main = new KeptFile(`/proc/${main.pid}/wchan`);
    this.#tasks = ioTasks.map((task) => new WatchedTask(task));
  }

  look(): IoLook {
    const looks = this.#tasks.map((task) => task.look());
    return { blocked: looks.every((one) => one.blocked), written: looks.map((one) => one.written).join(';') };
  }

  stopSign(): StopSign {
    return stopSignOf(this.#main.read());
  }

  tellsSleepers(): boolean {
    return this.#tasks.some((task) => task.tellsSleep());
  }

  close(): void {
    for (const part of [this.#main, ...this.#tasks]) part.close();
  }
}

class WatchedTask {
  readonly #task: string;
  readonly #io: KeptFile;
  readonly #stat: KeptFile;
  readonly #syscall: KeptFile;
  readonly #wchan: KeptFile;

  constructor({ pid, tid }: IoTask) {
    const task = `${pid}/task/${tid}`;
    this.#task = task;
    this.#io = new KeptFile(`/proc/${task}/io`);
    this.#stat = new KeptFile(`/proc/${task}/stat`);
    this.#syscall = new KeptFile(`/proc/${task}/syscall`);
    this.#wchan = new KeptFile(`/proc/${task}/wchan`);
  }

  look(): IoLook {
    const io = this.#io.read();
    // A task that ended writes nothing any more.
    if (io === 'gone') return { blocked: true, written: `${this.#task} gone` };
    const stat = textOf(this.#stat.read());
    const state = stat.slice(stat.lastIndexOf(')') + 2, stat.lastIndexOf(')') + 3);
    const counters = /wchar: (\d+)[\s\S]*syscw: (\d+)/.exec(textOf(io));
    return {
      // Counters that we may not see prove nothing: such a helper never counts as drained.
      blocked: counters !== null && state === 'S' && !writesToFile(textOf(this.#syscall.read())),
      written: `${this.#task} ${counters?.[1]} ${counters?.[2]}`,
    };
  }

  tellsSleep(): boolean {
    return stopSignOf(this.#wchan.read()) !== 'unknown';
  }

  close(): void {
    for (const file of [this.#io, this.#stat, this.#syscall, this.#wchan]) file.close();
  }
}

const textOf = (found: ReturnType<KeptFile['read']>) => (typeof found === 'string' ? found : found.text);

/** On FUSE a write sleeps as a read does, so the system call's number is looked at too, where we may see it. */
function writesToFile(syscall: string): boolean {
  const fileWritesOnX64 = ['18', '20', '74', '75', '285', '296', '328', 'running'];
  return fileWritesOnX64.includes(syscall.split(' ')[0]?.trim() ?? '');
}
