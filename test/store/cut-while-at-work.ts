import { join } from 'node:path';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { isSound, type SoundSnapshot, type StoredSnapshot } from '../../src/store/stored-snapshots.js';
import { startScript } from '../support/script-child.js';
import { whyNoLoopMount } from '../support/loop-filesystem.js';
import { type Cut, withPowerStage } from '../support/power-cut.js';
import { withTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';

/** Power cuts by clones of the store's filesystem, while a process works in the store and says what it has done. */

/** What somebody has a right to, as far as it was acknowledged. */
class Promises {
  readonly sealed = new Set<string>();
  readonly removed = new Set<string>();
  /** By name; of one that is about to be changed nothing is promised. */
  readonly pinned = new Map<string, boolean>();
  /** A snapshot was under way that nobody may have seen yet: its directory entry need not have reached the disk. */
  readonly isMaking: boolean;

  /** @param saidLater what had been said at the cut, and was heard only after it */
  constructor(said: readonly string[], saidLater: readonly string[]) {
    for (const line of said) this.#take(line);
    this.isMaking = said.at(-1)?.startsWith('receiving ') ?? false;
    // Nothing is promised of it; but what was to be changed may have been changed by then.
    for (const line of saidLater.filter((line) => /^(removing|pinning) /.test(line))) this.#take(line);
  }

  #take(line: string): void {
    const [word, snapshot = ''] = line.split(' ');
    if (word === 'sealed') this.sealed.add(snapshot);
    if (word === 'removing') this.sealed.delete(snapshot);
    if (word === 'removed') this.removed.add(snapshot);
    if (word === 'pinning') this.pinned.delete(snapshot);
    if (word === 'pinned' || word === 'unpinned') this.pinned.set(snapshot, word === 'pinned');
  }
}

interface CutStore {
  list(): Promise<StoredSnapshot[]>;
  emptyTrash(): Promise<void>;
}

export interface PowerCuts<S extends CutStore> {
  /** Works in the store of its first argument, with a scratch directory as its second, in the manner of its third. */
  script: URL;
  /** Cuts come up to six of these after a word, so that some fall into what it takes to make a snapshot. */
  stepMs: number;
  /** On each filesystem. */
  cuts: number;
  open(path: string): S;
  /** Whether what is listed is what was acknowledged. */
  isWhole(store: S, stored: SoundSnapshot): Promise<boolean>;
  /** Clears away what the cut has left half-made, and counts it. */
  clearIncoming(store: S): Promise<number>;
}

/** The tests of fault 35, for one kind of store. */
export function powerCutTests<S extends CutStore>(what: string, cutting: PowerCuts<S>): void {
  for (const type of ['ext4', 'xfs'] as const) {
    const noLoop = whyNoLoopMount(type) ?? whyNoLoopMount('xfs');
    if (noLoop !== undefined) console.warn(`SKIPPED: power cuts under ${what} on ${type}: ${noLoop}`);

    describe.skipIf(noLoop !== undefined)(`a power cut under ${what} on ${type} (fault 35)`, () => {
      it(`at ${cutting.cuts} instants: all that was acknowledged is there, whole, and nothing half-made is listed`, async () => {
        const wanted = { type, manner: 'careful', count: cutting.cuts } as const;
        const { problems, cuts, seen } = await cutWhileAtWork(cutting, wanted);
        expect(problems).toEqual([]);
        expect(cuts).toBe(cutting.cuts);
        // Cuts fell into the making, or this has proved nothing.
        expect(seen.inTheMaking).toBeGreaterThan(0);
        expect(seen.listed).toBeGreaterThan(cutting.cuts);
      }, 300_000);

      it('is noticed by this test when somebody leaves out the fsync of directories', async () => {
        const { problems } = await cutWhileAtWork(cutting, { type, manner: 'careless', count: 12 });
        expect(problems.join()).toMatch(/is not listed/);
      }, 300_000);
    });
  }
}

async function lookAfterCut<S extends CutStore>(
  { open, isWhole, clearIncoming }: Pick<PowerCuts<S>, 'open' | 'isWhole' | 'clearIncoming'>,
  path: string,
  { sealed, removed, pinned }: Promises,
) {
  const store = open(path);
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
  const incoming = await clearIncoming(store);
  await store.emptyTrash();
  const after = await store.list();
  if (after.length !== listed.length || !after.every(isSound)) problems.push('clearing up took a snapshot');
  return { problems, incoming, listed: listed.length };
}

async function cutWhileAtWork<S extends CutStore>(
  { script, stepMs, open, isWhole, clearIncoming }: PowerCuts<S>,
  { type, manner, count }: { type: 'ext4' | 'xfs'; manner: 'careful' | 'careless'; count: number },
) {
  return await withPowerStage(type, (stage) =>
    withTempDir(async (scratch) => {
      const worker = startScript(script, [join(stage.mountPoint, 'store'), scratch, manner]);
      const taken: { cut: Cut; promises: Promises }[] = [];
      try {
        await worker.waitForLine('ready');
        while (taken.length < count) {
          const heard = worker.lines.length;
          await waitFor('the next word', () => worker.lines.length > heard, { everyMs: 1 });
          // At once after a word, and at instants between: at a seventh of a moment, two sevenths and so on.
          if (manner === 'careful') await sleep((taken.length % 7) * stepMs);
          const said = worker.lines.length;
          const cut = stage.cut();
          for (let turn = 0; turn < 3; turn++) await nextTurn();
          const promises = new Promises(worker.lines.slice(0, said), worker.lines.slice(said));
          taken.push({ cut, promises });
        }
      } finally {
        worker.kill('SIGKILL');
        await worker.exited;
      }
      const lookAt = (path: string, promises: Promises) =>
        lookAfterCut({ open, isWhole, clearIncoming }, path, promises);
      const seen = { inTheMaking: 0, listed: 0 };
      const problems: string[] = [];
      for (const [number, { cut, promises }] of taken.entries()) {
        const found = await cut.withMounted((mountPoint) => lookAt(join(mountPoint, 'store'), promises));
        problems.push(...found.problems.map((problem) => `cut ${number}: ${problem}`));
        if (found.incoming > 0 || promises.isMaking) seen.inTheMaking += 1;
        seen.listed += found.listed;
      }
      return { problems, seen, cuts: taken.length };
    }),
  );
}
