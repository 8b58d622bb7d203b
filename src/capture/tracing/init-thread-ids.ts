import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import type { DiskWriter } from '../precopy/write-tracker.js';
import { initPidNamespace, pidNamespaceOf } from './pid-namespace.js';

const attempts = 20;

/**
 * The ids by which the tracer knows threads: those of the outermost pid namespace. Elsewhere (a container) they are found
 * by having the tracer tell of a thread: its score for the OOM killer is set to what it is already, which is an event that
 * names the thread it is about. The instance must trace nothing else yet.
 * @throws Error when the kernel does not tell
 */
export function initThreadIds(instancePath: string, threads: DiskWriter[]): number[] {
  if (pidNamespaceOf('self') === initPidNamespace) return threads.map(({ tid }) => tid);
  const enable = `${instancePath}/events/oom/oom_score_adj_update/enable`;
  if (!existsSync(enable))
    throw new Error("this kernel can't name a container's threads to the tracer: run outside of it");
  writeFileSync(enable, '1');
  try {
    return threads.map((thread) => ask(`${instancePath}/trace`, thread));
  } finally {
    writeFileSync(enable, '0');
    writeFileSync(`${instancePath}/trace`, '');
  }
}

function ask(trace: string, { pid, tid }: DiskWriter): number {
  const score = `/proc/${pid}/task/${tid}/oom_score_adj`;
  for (let attempt = 0; attempt < attempts; attempt += 1) {
    writeFileSync(trace, '');
    writeFileSync(score, readFileSync(score, 'latin1').trim());
    const told = [...readFileSync(trace, 'latin1').matchAll(/: oom_score_adj_update: pid=(\d+) comm=/g)];
    // Somebody else's score may have been set in the same moment: which of the two is ours can't be told.
    if (told.length === 1) return Number(told[0]?.[1]);
  }
  throw new Error(`the tracer's own number of thread ${tid} can't be found out`);
}
