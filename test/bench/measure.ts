import { writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { runTool } from '../support/run-tool.js';
import { backUp } from './backups.js';
import type { Idle, Run } from './measurement.js';
import type { MethodName } from './methods.js';
import type { Stage } from './stage.js';
import { gapsAround, shortestGapMs } from './ticks.js';

/** One run of a method on the guest. @throws Error with the reason when it gives no figure */
export async function measureRun(stage: Stage, method: MethodName, cache: 'cold' | 'warm'): Promise<Run> {
  await startEven(cache);
  const { witness } = stage;
  await stage.takeGaps();
  witness.takePauses();
  const writtenBefore = await stage.writtenBytes();
  const startedAtMs = performance.now();
  const { memory, remark, inside } = await backUp(stage, method);
  const jobMs = performance.now() - startedAtMs;
  const writtenBytes = (await stage.writtenBytes()) - writtenBefore;
  await stage.requireLoad();
  const pauses = witness.takePauses();
  if (pauses.length === 0) throw new Error('the witness before the console has seen no pause');
  const { atPauseMs, elsewhereMs } = gapsAround(await stage.takeGaps(), pauses);
  return {
    pausedMs: Math.max(...pauses.map(({ pausedMs }) => pausedMs)),
    // No gap was long enough to be noted: it was shorter than that.
    tickerMs: Math.max(atPauseMs, shortestGapMs),
    otherGapMs: Math.max(elsewhereMs, shortestGapMs),
    jobMs,
    guestBytesPerSecond: (writtenBytes * 1000) / jobMs,
    ...{ memory, remark, inside },
  };
}

/** The guest under its load for a while, and nothing else. */
export async function measureIdle(
  stage: Stage,
  cache: 'cold' | 'warm',
): Promise<Pick<Idle, 'guestBytesPerSecond' | 'longestGapMs'>> {
  await startEven(cache);
  await stage.takeGaps();
  const writtenBefore = await stage.writtenBytes();
  const startedAtMs = performance.now();
  await sleep(idleMs);
  const writtenBytes = (await stage.writtenBytes()) - writtenBefore;
  const guestBytesPerSecond = (writtenBytes * 1000) / (performance.now() - startedAtMs);
  const { elsewhereMs } = gapsAround(await stage.takeGaps(), []);
  return { guestBytesPerSecond, longestGapMs: Math.max(elsewhereMs, shortestGapMs) };
}

/** As long as many a job takes. */
const idleMs = 5_000;

/** What the run before has left to be written MUST NOT be paid by this one. */
async function startEven(cache: 'cold' | 'warm'): Promise<void> {
  await runTool('sync', [], 10 * 60_000);
  if (cache === 'cold') await writeFile('/proc/sys/vm/drop_caches', '3');
  // The guest is back at its full speed.
  await sleep(1_000);
}
