import { closeSync } from 'node:fs';
import { errnoOf, problemOf } from '../../errors.js';
import { initThreadIds } from './init-thread-ids.js';
import { beginTracing, canTraceCalls } from './instance-settings.js';
import { openFileWatch, ownThreadId, watchFile } from './kernel-calls.js';
import { createTraceInstance } from './trace-instance.js';
import { findTracefs } from './tracefs.js';

export type TracingProbe = { works: true } | { works: false; reason: string };

const FAN_OPEN = 0x20;

/** Whether writes can be followed by tracing on this host, found out by doing so for a moment. */
export async function probeTracing(): Promise<TracingProbe> {
  if (process.arch !== 'x64') {
    return { works: false, reason: `system calls are followed on x86-64 only, not on ${process.arch}` };
  }
  const tracefs = findTracefs();
  if ('problem' in tracefs) return { works: false, reason: tracefs.problem };
  try {
    return probeFanotify() ?? (await probeInstance());
  } catch (error) {
    return { works: false, reason: problemOf(error) };
  }
}

async function probeInstance(): Promise<TracingProbe> {
  const instance = await createTraceInstance();
  try {
    if (!canTraceCalls(instance.path)) {
      return { works: false, reason: 'this kernel has no syscall tracepoints (CONFIG_FTRACE_SYSCALLS)' };
    }
    const [reader = 0] = initThreadIds(instance.path, [{ pid: process.pid, tid: ownThreadId() }]);
    await beginTracing(instance.path, { reader, writers: [] }, 64);
    return { works: true };
  } finally {
    await instance.remove();
  }
}

function probeFanotify(): TracingProbe | null {
  try {
    const fd = openFileWatch();
    try {
      watchFile(fd, FAN_OPEN, '/proc/self/exe');
    } finally {
      closeSync(fd);
    }
    return null;
  } catch (error) {
    const why = errnoOf(error) === 'EPERM' ? 'run as root' : 'CONFIG_FANOTIFY, Linux 4.20';
    return { works: false, reason: `fanotify is not available (${errnoOf(error)}): ${why}` };
  }
}
