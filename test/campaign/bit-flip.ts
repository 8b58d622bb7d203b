import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Store } from '../../src/store/store.js';
import { withOpen } from '../image/make-image.js';
import {
  dropArchiveScene,
  pair,
  restoreFailure,
  small,
  sealedSnapshots,
  sourceFiles,
  tarStoreIn,
  verdictOf,
} from '../store/tar/archive-scene.js';
import { makeTempDir, removeTempDir, withTempDir } from '../support/temp-dir.js';
import { below, type Campaign, oneOf, problemsOf, type Random, type Wanted } from './campaign.js';

/** A place in a file of a snapshot, and what becomes of the byte there. */
type Flip = Awaited<ReturnType<typeof flipIn>>;

async function flipIn(path: string, random: Random) {
  const { size } = await stat(path);
  // One bit, or a byte that becomes any other.
  const mask = random() < 0.5 ? 1 << below(random, 8) : 1 + below(random, 255);
  return { path, offset: below(random, size), mask };
}

/** Done twice, it is undone. */
async function apply({ path, offset, mask }: Flip): Promise<void> {
  await withOpen(path, 'r+', async (file) => {
    const byte = Buffer.alloc(1);
    await file.read(byte, 0, 1, offset);
    byte[0] = (byte[0] ?? 0) ^ mask;
    await file.write(byte, 0, 1, offset);
  });
}

async function lookAtFlipped(store: Store, flip: Flip): Promise<string[]> {
  const problems: string[] = [];
  const where = `byte ${flip.offset} of ${flip.path} XOR ${flip.mask}`;
  if ((await verdictOf(store, pair)).ok) problems.push(`verify tells nothing of ${where}`);
  await withTempDir(async (dir) => {
    if ((await restoreFailure(store, pair, join(dir, 'to'))) === null)
      problems.push(`restore does not refuse ${where}`);
    else if ((await readdir(join(dir, 'to'))).length > 0)
      problems.push(`restore leaves something of ${where}`);
  });
  const untouched = await verdictOf(store, small);
  if (!untouched.ok) problems.push(`the other snapshot is damaged by ${where}: ${untouched.problem}`);
  return problems;
}

/** The same two snapshots as archives and in a directory store, and what in it may be flipped. */
async function targetsIn(dir: string): Promise<[Store, files: [what: string, path: string][]][]> {
  const { source, content } = await sealedSnapshots();
  const manifest = join((await source.read(pair)).directory, 'manifest.json');
  const files = [...(await sourceFiles(source, await content(pair)))];
  const kindOf = (name: string) => (name.startsWith('backing/') ? 'backing files' : 'images');
  const archives = await tarStoreIn(dir, 'zstd');
  for (const snapshot of [pair, small] as const) await archives.receive(await content(snapshot), {});
  const ofDisks = files.map(([name, path]): [string, string] => [kindOf(name), path]);
  return [
    [source, [['manifests', manifest], ...ofDisks]],
    [archives, [['archives', (await archives.read(pair)).directory]]],
  ];
}

async function* trials({ from, count, random }: Wanted) {
  const dir = await makeTempDir();
  try {
    const targets = await targetsIn(dir);
    for (let number = from; number < from + count; number++) {
      const draw = random(number);
      const [store, files] = targets[number % 2] ?? oneOf(draw, targets);
      const [what, path] = oneOf(draw, files);
      const flip = await flipIn(path, draw);
      await apply(flip);
      const problems = await problemsOf(() => lookAtFlipped(store, flip));
      await apply(flip);
      if (!(await verdictOf(store, pair)).ok) throw new Error(`${path} is not what it was`);
      yield { count: 1, problems, facts: { [`in ${what}`]: 1 } };
    }
  } finally {
    await dropArchiveScene();
    await removeTempDir(dir);
  }
}

export const bitFlip: Campaign = {
  name: 'bit-flip',
  hazard: 'a random bit or byte of a stored snapshot is changed: image, manifest, backing file, archive',
  held: 'verify tells it, restore refuses it, and the other snapshots are sound',
  ...{ n: 400, unit: 'flips', isSeeded: true, trials },
};
