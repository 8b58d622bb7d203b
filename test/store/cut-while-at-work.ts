import { join } from 'node:path';
import { startScript } from '../contracts/script-child.js';
import { type Cut, withPowerStage } from '../support/power-cut.js';
import { withTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';

/** Power cuts by clones of the store's filesystem, while a process works in the store and says what it has done. */

/** What somebody has a right to, as far as it was acknowledged. */
export class Promises {
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

export interface FoundAfterCut {
  problems: string[];
  /** Half-made snapshots that the cut has left. */
  incoming: number;
  listed: number;
}

export interface CutWork {
  type: 'ext4' | 'xfs';
  /** Told the store's directory, a scratch directory, and this. */
  script: URL;
  manner: 'careful' | 'careless';
  count: number;
  lookAt(path: string, promises: Promises): Promise<FoundAfterCut>;
}

export async function cutWhileAtWork({ type, script, manner, count, lookAt }: CutWork) {
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
