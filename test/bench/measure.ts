import { spawn } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { runTool } from '../support/run-tool.js';
import { backUp } from './backups.js';
import { type MethodName, methods } from './methods.js';
import type { Stage } from './stage.js';
import { gapsAround } from './ticks.js';

type Cache = 'cold' | 'warm';

/** One run of a method on the guest. @throws Error with the reason when it gives no figure */
export async function measureRun(stage: Stage, method: MethodName, cache: Cache) {
  const { done, jobMs, guestBytesPerSecond, pauses, gaps } = await measured(stage, cache, () =>
    methods[method].isBusy ? whileBusy(() => backUp(stage, method)) : backUp(stage, method),
  );
  await stage.requireLoad();
  if (pauses.length === 0) throw new Error('the witness before the console has seen no pause');
  const { atPauseMs, elsewhereMs } = gapsAround(gaps, pauses);
  return {
    /** From `stop` answered to `go` answered, as the witness before the console has seen it; the longest, if there were several. */
    pausedMs: Math.max(...pauses.map(({ pausedMs }) => pausedMs)),
    /** The gap that the ticker in the guest has seen at that time, and the longest at any other time of the run. */
    ...{ tickerMs: atPauseMs, otherGapMs: elsewhereMs },
    ...{ jobMs, guestBytesPerSecond, ...done },
  };
}

/** Of sessions of their own, as other work on a host is. */
async function whileBusy<T>(work: () => Promise<T>): Promise<T> {
  const busy = Array.from({ length: availableParallelism() }, () =>
    spawn(process.execPath, ['-e', 'for (;;);'], { stdio: 'ignore', detached: true }),
  );
  try {
    return await work();
  } finally {
    for (const child of busy) child.kill('SIGKILL');
  }
}

/** The guest under its load for a while, as long as many a job takes, and nothing else. */
export async function measureIdle(stage: Stage, cache: Cache) {
  const { guestBytesPerSecond, gaps } = await measured(stage, cache, () => sleep(5_000));
  return { guestBytesPerSecond, longestGapMs: gapsAround(gaps, []).elsewhereMs };
}

/** What the guest does, and what is seen of it, while `work` is done. */
async function measured<T>(stage: Stage, cache: Cache, work: () => Promise<T>) {
  // What the run before has left to be written MUST NOT be paid by this one.
  await runTool('sync', [], 10 * 60_000);
  if (cache === 'cold') await writeFile('/proc/sys/vm/drop_caches', '3');
  // The guest is back at its full speed.
  await sleep(1_000);
  await stage.takeGaps();
  stage.witness.takePauses();
  const writtenBefore = await stage.writtenBytes();
  const startedAtMs = performance.now();
  const done = await work();
  const jobMs = performance.now() - startedAtMs;
  const guestBytesPerSecond = (((await stage.writtenBytes()) - writtenBefore) * 1000) / jobMs;
  return {
    ...{ done, jobMs, guestBytesPerSecond },
    pauses: stage.witness.takePauses(),
    gaps: await stage.takeGaps(),
  };
}
