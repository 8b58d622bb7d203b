import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { isSound, type SoundSnapshot, type StoredSnapshot } from '../../src/store/stored-snapshots.js';
import { startScript } from '../contracts/script-child.js';
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

  constructor(said: readonly string[]) {
    for (const line of said) {
      const [word, snapshot = ''] = line.split(' ');
      if (word === 'sealed') this.sealed.add(snapshot);
      if (word === 'removing') this.sealed.delete(snapshot);
      if (word === 'removed') this.removed.add(snapshot);
      if (word === 'pinning') this.pinned.delete(snapshot);
      if (word === 'pinned' || word === 'unpinned') this.pinned.set(snapshot, word === 'pinned');
    }
  }
}

interface CutStore {
  list(): Promise<StoredSnapshot[]>;
  emptyTrash(): Promise<void>;
}

export interface PowerCuts<S extends CutStore> {
  /** Works in the store of its first argument, with a scratch directory as its second, in the manner of its third. */
  script: URL;
  open(path: string): S;
  /** Whether what is listed is what was acknowledged. */
  isWhole(store: S, stored: SoundSnapshot): Promise<boolean>;
  /** Counts what the cut has left half-made, and may clear it away. */
  leftIncoming(store: S): Promise<number>;
}

const cutsPerFilesystem = 60;

/** The tests of fault 35, for one kind of store. */
export function powerCutTests<S extends CutStore>(what: string, cutting: PowerCuts<S>): void {
  for (const type of ['ext4', 'xfs'] as const) {
    const noLoop = whyNoLoopMount(type) ?? whyNoLoopMount('xfs');
    if (noLoop !== undefined) console.warn(`SKIPPED: power cuts under ${what} on ${type}: ${noLoop}`);

    describe.skipIf(noLoop !== undefined)(`a power cut under ${what} on ${type} (fault 35)`, () => {
      it(`at ${cutsPerFilesystem} instants: all that was acknowledged is there, whole, and nothing half-made is listed`, async () => {
        const wanted = { type, manner: 'careful', count: cutsPerFilesystem } as const;
        const { problems, cuts, seen } = await cutWhileAtWork(cutting, wanted);
        expect(problems).toEqual([]);
        expect(cuts).toBe(cutsPerFilesystem);
        // Cuts fell into the making, or this has proved nothing.
        expect(seen.incoming).toBeGreaterThan(0);
        expect(seen.listed).toBeGreaterThan(cutsPerFilesystem);
      }, 300_000);

      it('is noticed by this test when somebody leaves out the fsync of directories', async () => {
        const { problems } = await cutWhileAtWork(cutting, { type, manner: 'careless', count: 12 });
        expect(problems.join()).toMatch(/is not listed/);
      }, 300_000);
    });
  }
}

async function lookAfterCut<S extends CutStore>(
  { open, isWhole, leftIncoming }: Omit<PowerCuts<S>, 'script'>,
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
  const incoming = await leftIncoming(store);
  await store.emptyTrash();
  const after = await store.list();
  if (after.length !== listed.length || !after.every(isSound)) problems.push('clearing up took a snapshot');
  return { problems, incoming, listed: listed.length };
}

async function cutWhileAtWork<S extends CutStore>(
  { script, open, isWhole, leftIncoming }: PowerCuts<S>,
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
          // At once after an acknowledgement, and at instants between: at a seventh of a moment, two sevenths and so on.
          if (manner === 'careful') await new Promise((done) => setTimeout(done, (taken.length % 7) * 3));
          const promises = new Promises([...worker.lines]);
          taken.push({ cut: stage.cut(), promises });
        }
      } finally {
        worker.kill('SIGKILL');
        await worker.exited;
      }
      const lookAt = (path: string, promises: Promises) =>
        lookAfterCut({ open, isWhole, leftIncoming }, path, promises);
      const seen = { incoming: 0, listed: 0 };
      const problems: string[] = [];
      for (const [number, { cut, promises }] of taken.entries()) {
        const found = await cut.withMounted((mountPoint) => lookAt(join(mountPoint, 'store'), promises));
        problems.push(...found.problems.map((problem) => `cut ${number}: ${problem}`));
        seen.incoming += found.incoming;
        seen.listed += found.listed;
      }
      return { problems, seen, cuts: taken.length };
    }),
  );
}
