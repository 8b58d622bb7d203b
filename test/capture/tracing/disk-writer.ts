import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { runTool } from '../../support/run-tool.js';
import { testCacheDir } from '../../support/test-cache.js';

/** Whether the thread that writes is a process of its own (UML up to 6.14), or a thread of a process (from 6.15). */
export type WriterKind = 'process' | 'thread';

export type DiskWriterProcess = Awaited<ReturnType<typeof startDiskWriter>>;

let built: Promise<string> | undefined;

/** A process that writes an image by the system call that it is told: see disk-writer.c. */
export async function startDiskWriter(kind: WriterKind, image: string) {
  built ??= build();
  const child = spawn(await built, [kind, image], { stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = once(child, 'exit');
  // A writer that is gone says so by the answer that does not come.
  child.stdin.on('error', () => {});
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  const next = async () => {
    const { value, done } = await lines.next();
    if (done) throw new Error('the disk writer has ended');
    return String(value).split(' ').map(Number) as [number, number];
  };
  const [pid, tid] = await next();
  return {
    pid,
    tid,
    /** Resolves when the call has ended. */
    obey: async (command: string, a = 0, b = 0) => {
      child.stdin.write(`${command} ${a} ${b}\n`);
      const [result, errno] = await next();
      return { result, errno };
    },
    end: async () => {
      child.kill('SIGKILL');
      await ended;
    },
  };
}

async function build(): Promise<string> {
  const source = fileURLToPath(new URL('./disk-writer.c', import.meta.url));
  const program = join(await testCacheDir(), 'disk-writer');
  const incoming = `${program}.${process.pid}`;
  await runTool('gcc', ['-O2', '-Wno-stringop-overread', '-o', incoming, source, '-lpthread']);
  await rename(incoming, program);
  return program;
}
