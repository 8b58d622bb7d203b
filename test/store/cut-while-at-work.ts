import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { isSound } from '../../src/store/stored-snapshots.js';
import type { Store } from '../../src/store/store.js';
import { whyNoLoopMount } from '../support/loop-filesystem.js';
import { type PowerStage, withPowerStage } from '../support/power-cut.js';
import { roundsOr, tellCampaign } from '../support/rounds.js';
import { startScript } from '../support/script-child.js';
import { withTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';
import { isWhole } from './capture-of-tests.js';

/** Power cuts by clones of the store's filesystem, while a process works in the store and says what it has done. */

/** On each filesystem. Mistakes that were put in by hand showed by the seventh at the latest. */
const cutsPerFilesystem = roundsOr(8);

/**
 * What somebody has a right to, as far as it was acknowledged.
 * @param saidLater what had been said at the cut, and was heard only after it
 */
function promisesOf(said: readonly string[], saidLater: readonly string[]) {
  const [sealed, removed] = [new Set<string>(), new Set<string>()];
  /** By name; of one that is about to be changed nothing is promised. */
  const pinned = new Map<string, boolean>();
  // Nothing is promised of what came later; but what was to be changed may have been changed by then.
  const begunLater = saidLater.filter((line) => /^(removing|pinning) /.test(line));
  for (const line of [...said, ...begunLater]) {
    const [word, snapshot = ''] = line.split(' ');
    if (word === 'sealed') sealed.add(snapshot);
    if (word === 'removing') sealed.delete(snapshot);
    if (word === 'removed') removed.add(snapshot);
    if (word === 'pinning') pinned.delete(snapshot);
    if (word === 'pinned' || word === 'unpinned') pinned.set(snapshot, word === 'pinned');
  }
  return { sealed, removed, pinned };
}

interface PowerCuts {
  kind: 'directories' | 'archives';
  /** Cuts come up to six of these after a word. */
  stepMs: number;
  open(path: string): Store;
  /** Clears away what the cut has left half-made. */
  clearUp(path: string): Promise<void>;
}

/** The tests of fault 35, for one kind of store. */
export function powerCutTests(cutting: PowerCuts): void {
  const what = `a power cut under a store of ${cutting.kind}`;
  for (const type of ['ext4', 'xfs'] as const) {
    const noLoop = whyNoLoopMount(type) ?? whyNoLoopMount('xfs');
    if (noLoop !== undefined) console.warn(`SKIPPED: ${what} on ${type}: ${noLoop}`);

    it.skipIf(noLoop !== undefined)(
      `${what} on ${type} (fault 35) at ${cutsPerFilesystem} instants: all that was acknowledged is there, whole, nothing half-made is listed, and an fsync of a directory that is left out is noticed`,
      () =>
        withPowerStage(type, async (stage) => {
          const found = await cutWhileAtWork(cutting, stage, 'careful');
          expect(found.problems).toEqual([]);
          // Each of them found something: or this has proved nothing.
          expect(found.listed).toBeGreaterThanOrEqual(cutsPerFilesystem);
          tellCampaign({ [`cuts on ${type}`]: cutsPerFilesystem });
          const careless = await cutWhileAtWork(cutting, stage, 'careless');
          expect(careless.problems.join()).toMatch(/is not listed/);
        }),
      300_000,
    );
  }
}

/** By its name, in the store as it is now, which the cut need not have. */
const inTheMaking = (path: string) =>
  readdirSync(join(path, 'debian')).find((name) => name.startsWith('.incoming-'));

async function lookAfterCut(cutting: PowerCuts, path: string, promises: ReturnType<typeof promisesOf>) {
  const { sealed, removed, pinned } = promises;
  const store = cutting.open(path);
  const problems: string[] = [];
  const listed = await store.list();
  const names = new Set(listed.map(({ snapshot }) => snapshot));
  for (const name of sealed)
    if (!names.has(name)) problems.push(`${name} was acknowledged and is not listed`);
  for (const stored of listed) {
    const { snapshot } = stored;
    if (removed.has(snapshot)) problems.push(`${snapshot} was removed and is listed`);
    if (!isSound(stored)) problems.push(`${snapshot} is damaged: ${stored.damaged}`);
    else if (!(await isWhole(store, stored))) problems.push(`${snapshot} is listed and not what was sealed`);
    else if (pinned.get(snapshot) === !stored.manifest.pinned) problems.push(`${snapshot} lost its pin`);
  }
  // What the cut has left half-made is cleared away as ever, and takes nothing with it.
  await cutting.clearUp(path);
  await store.emptyTrash();
  const after = await store.list();
  if (after.length !== listed.length || !after.every(isSound)) problems.push('clearing up took a snapshot');
  return { problems, listed };
}

/** `careful`: looks at all cuts, each other of which fell into the making of a snapshot. `careless`: at one after the other, until one shows it. */
async function cutWhileAtWork(cutting: PowerCuts, stage: PowerStage, manner: 'careful' | 'careless') {
  return await withTempDir(async (scratch) => {
    const path = join(stage.mountPoint, manner);
    const script = new URL('./power-cut-child.ts', import.meta.url);
    const worker = startScript(script, [path, scratch, cutting.kind, manner]);
    const isCareful = manner === 'careful';
    const cutNow = async () => {
      const said = worker.lines.length;
      const making = inTheMaking(path);
      const cut = stage.cut();
      const wasMaking = making !== undefined && making === inTheMaking(path);
      for (let turn = 0; turn < 3; turn++) await nextTurn();
      const promises = promisesOf(worker.lines.slice(0, said), worker.lines.slice(said));
      return { cut, promises, wasMaking };
    };
    const sealed = () => worker.lines.filter((line) => line.startsWith('sealed')).length;
    const seen = { problems: [] as string[], listed: 0 };
    const look = async ({ cut, promises }: Awaited<ReturnType<typeof cutNow>>) => {
      const found = await cut.withMounted((at) => lookAfterCut(cutting, join(at, manner), promises));
      seen.problems.push(...found.problems);
      seen.listed += found.listed.length;
    };
    const taken: Awaited<ReturnType<typeof cutNow>>[] = [];
    try {
      // The very first one, whose guest's directory is as new as it is.
      await waitFor('the first snapshot', () => sealed() > 0, { everyMs: 2 });
      taken.push(await cutNow());
      while (taken.length < cutsPerFilesystem) {
        const last = taken.at(-1);
        if (!isCareful && last) await look(last);
        if (seen.problems.some((problem) => /is not listed/.test(problem))) return seen;
        const heard = worker.lines.length;
        await waitFor('the next word', () => worker.lines.length > heard, { everyMs: 2 });
        // At once after a word, and at instants between.
        if (isCareful) await sleep((taken.length % 7) * cutting.stepMs);
        const wanted = isCareful && taken.length % 2 === 1;
        if (wanted) await waitFor('one in the making', () => inTheMaking(path), { everyMs: 1 });
        // Else it would be sealed before the power is cut.
        if (wanted) worker.kill('SIGSTOP');
        const one = await cutNow();
        worker.kill('SIGCONT');
        if (one.wasMaking || !wanted) taken.push(one);
      }
    } finally {
      worker.kill('SIGKILL');
      await worker.exited;
    }
    if (isCareful) for (const one of taken) await look(one);
    return seen;
  });
}
