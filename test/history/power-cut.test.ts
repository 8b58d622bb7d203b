import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { SqliteHistory } from '../../src/history/sqlite-history.js';
import { canTrace, withInjected } from '../capture/traced.js';
import { type ScriptChild, startScript } from '../support/script-child.js';
import { whyNoLoopMount } from '../support/loop-filesystem.js';
import { roundsOr, tellCampaign } from '../support/rounds.js';
import { type Cut, type PowerStage, withPowerStage } from '../support/power-cut.js';
import { waitFor } from '../support/wait-for.js';
import { integrityOf } from './records-of-tests.js';

/** By clones of the history's filesystem while a process writes jobs into it. */

const cutsPerFilesystem = roundsOr(8);
const traceable = await canTrace();
if (!traceable) console.warn('SKIPPED: writes of a history that are not made durable: no strace');
const proof = traceable ? ', and that is noticed when the writes are not made durable' : '';

for (const type of ['ext4', 'xfs'] as const) {
  const noLoop = whyNoLoopMount(type) ?? whyNoLoopMount('xfs');
  if (noLoop !== undefined) console.warn(`SKIPPED: power cuts under a history on ${type}: ${noLoop}`);

  it.skipIf(noLoop !== undefined)(
    `a power cut under a history on ${type} (fault 53) at ${cutsPerFilesystem} instants loses no acknowledged row, and leaves a sound file${proof}`,
    () =>
      withPowerStage(type, async (stage) => {
        const careful = await cutWhileWriting(stage, cutsPerFilesystem, 'state', (_, use) => use());
        expect(careful.problems).toEqual([]);
        expect(careful.rows).toBeGreaterThanOrEqual(cutsPerFilesystem);
        tellCampaign({ [`cuts on ${type}`]: cutsPerFilesystem });
        if (!traceable) return;
        const skipped = ['fsync:retval=0', 'fdatasync:retval=0'];
        const { problems } = await cutWhileWriting(stage, 6, 'careless', ({ pid }, use) =>
          withInjected(pid, skipped, use),
        );
        expect(problems.join()).toMatch(/is lost/);
      }),
    300_000,
  );
}

async function cutWhileWriting(
  stage: PowerStage,
  count: number,
  state: string,
  under: (writer: ScriptChild, use: () => Promise<void>) => Promise<void>,
) {
  const path = join(state, 'history.db');
  const script = new URL('./history-child.ts', import.meta.url);
  const writer = startScript(script, ['write', join(stage.mountPoint, path), 'job', '1000000']);
  const taken: { cut: Cut; acknowledged: string[] }[] = [];
  try {
    await writer.waitForLine('ready');
    await under(writer, async () => {
      writer.go();
      while (taken.length < count) {
        const heard = writer.lines.length;
        await waitFor('the next row', () => writer.lines.length > heard, { everyMs: 1 });
        // At once, and at instants between two acknowledgements.
        await sleep(taken.length % 5);
        const acknowledged = writer.lines.filter((line) => line !== 'ready');
        taken.push({ cut: stage.cut(), acknowledged });
      }
      writer.kill('SIGKILL');
      await writer.exited;
    });
  } finally {
    writer.kill('SIGKILL');
    await writer.exited;
  }
  const problems: string[] = [];
  for (const [number, { cut, acknowledged }] of taken.entries()) {
    const found = await cut.withMounted((mountPoint) => lookAt(join(mountPoint, path), acknowledged));
    problems.push(...found.map((problem) => `cut ${number}: ${problem}`));
  }
  return { problems, rows: taken.at(-1)?.acknowledged.length ?? 0 };
}

async function lookAt(path: string, acknowledged: readonly string[]): Promise<string[]> {
  try {
    const history = await SqliteHistory.open(path);
    const jobs = new Map((await history.jobs({})).map((job) => [job.job, job.status]));
    history.close();
    const lost = acknowledged.filter((job) => jobs.get(job) !== 'success').map((job) => `${job} is lost`);
    const integrity = integrityOf(path);
    return integrity === 'ok' ? lost : [...lost, `integrity_check says ${String(integrity)}`];
  } catch (error) {
    return [`the history can't be used, and each row of it is lost: ${String(error)}`];
  }
}
