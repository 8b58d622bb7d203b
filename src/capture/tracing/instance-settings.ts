import { closeSync, existsSync, openSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { cpuNumbers, onlineCpusFile } from './cpu-list.js';
import { markCall, markMode, readFromStart } from './kernel-calls.js';
import { trackedCalls } from './tracked-calls.js';

/** Sets up the tracing of an instance, and tells whether it still is as it was set up. */

const defaultBufferKib = 2048;
const textBuffer = Buffer.alloc(16_384);
const lostCounts = ['overrun', 'commit overrun', 'dropped events'] as const;

/**
 * Traces the calls of these threads from now on, and the marks of the one that reads the trace.
 * @param ids as the tracer names threads (initThreadIds)
 * @param bufferKib for each CPU. @throws Error when the kernel can't
 */
export async function beginTracing(
  instancePath: string,
  ids: { reader: number; writers: number[] },
  bufferKib: number = defaultBufferKib,
): Promise<void> {
  const set = (file: string, value: string) => writeFile(`${instancePath}/${file}`, value);
  await set('tracing_on', '0');
  // Counts events over all CPUs, so that their order is beyond doubt: no clock is that strict.
  await set('trace_clock', 'counter');
  // A full buffer keeps what it has and counts what it drops.
  await set('options/overwrite', '0');
  await set('buffer_size_kb', String(bufferKib));
  await set('set_event_pid', [ids.reader, ...ids.writers].join(' '));
  for (const { name, needed } of trackedCalls) {
    const events = [`sys_enter_${name}`, `sys_exit_${name}`].map((event) => `events/syscalls/${event}`);
    const isThere = events.every((event) => existsSync(`${instancePath}/${event}`));
    if (!isThere && needed) throw new Error(`this kernel does not trace ${name}`);
    if (!isThere) continue;
    for (const event of events) {
      await set(`${event}/filter`, filterOf(event, ids.reader));
      await set(`${event}/enable`, '1');
    }
  }
  // Last, and at one instant: a call whose beginning was traced has its end traced too.
  await set('tracing_on', '1');
  // Less than it asked for the kernel gives without a word.
  const got = Number.parseInt(readFileSync(`${instancePath}/buffer_size_kb`, 'latin1'), 10);
  if (!(got >= bufferKib - 4))
    throw new Error(`the kernel gave ${got} KiB of trace buffer instead of ${bufferKib}`);
}

/** Only the reader's marks are traced: what it copies itself in the pause would fill the buffer. */
function filterOf(event: string, readerId: number): string {
  const others = `common_pid != ${readerId}`;
  return event.endsWith(`sys_enter_${markCall}`) ? `${others} || mode == ${markMode}` : others;
}

/** Looks at an instance through descriptors that stay open: a look takes a fraction of a millisecond. */
export class InstanceWatch {
  readonly #path: string;
  readonly #inode: bigint;
  readonly #settings: { file: string; fd: number; value: string }[];
  readonly #stats: { fd: number; cpu: number }[];

  constructor(instancePath: string) {
    this.#path = instancePath;
    this.#inode = statSync(instancePath, { bigint: true }).ino;
    const files = ['tracing_on', 'set_event', 'set_event_pid', 'trace_clock', 'buffer_size_kb'];
    const paths = [...files.map((file) => `${instancePath}/${file}`), onlineCpusFile];
    this.#settings = paths.map((file) => {
      const fd = openSync(file, 'r');
      return { file, fd, value: readFromStart(fd, textBuffer) };
    });
    this.#stats = cpuNumbers().map((cpu) => ({
      cpu,
      fd: openSync(`${instancePath}/per_cpu/cpu${cpu}/stats`, 'r'),
    }));
  }

  /** @returns why events may have been missed; null when none can have been */
  look(): string | null {
    return this.#lost() ?? this.#changed() ?? this.#unreachable();
  }

  #lost(): string | null {
    for (const { cpu, fd } of this.#stats) {
      const text = readFromStart(fd, textBuffer);
      for (const name of lostCounts) {
        const count = new RegExp(`^${name}: (\\d+)$`, 'm').exec(text)?.[1];
        if (count !== '0') return `the trace buffer of CPU ${cpu} overflowed (${name}: ${count})`;
      }
    }
    return null;
  }

  #changed(): string | null {
    const changed = this.#settings.find(({ fd, value }) => readFromStart(fd, textBuffer) !== value);
    return changed === undefined ? null : `somebody changed the tracing (${changed.file})`;
  }

  #unreachable(): string | null {
    const found = statSync(this.#path, { bigint: true, throwIfNoEntry: false });
    return found?.ino === this.#inode ? null : `the trace instance is gone from ${this.#path}`;
  }

  close(): void {
    for (const { fd } of [...this.#settings.splice(0), ...this.#stats.splice(0)]) closeSync(fd);
  }
}

/** Whether the instance can trace system calls at all. */
export function canTraceCalls(instancePath: string): boolean {
  const events = existsSync(`${instancePath}/events/syscalls`)
    ? new Set(readdirSync(`${instancePath}/events/syscalls`))
    : new Set<string>();
  return trackedCalls.every(({ name, needed }) => !needed || events.has(`sys_exit_${name}`));
}
