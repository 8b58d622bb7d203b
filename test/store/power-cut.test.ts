import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { DirectoryStore } from '../../src/store/directory-store.js';
import { isSound, type SoundSnapshot } from '../../src/store/stored-snapshots.js';
import { whyNoLoopMount } from '../support/loop-filesystem.js';
import { bytesOf } from './capture-of-tests.js';
import { cutWhileAtWork, type FoundAfterCut, type Promises } from './cut-while-at-work.js';

/** Fault 35, by clones of the store's filesystem while a process seals, pins and prunes in it. */

const cutsPerFilesystem = 60;
const script = new URL('./power-cut-child.ts', import.meta.url);

for (const type of ['ext4', 'xfs'] as const) {
  const noLoop = whyNoLoopMount(type) ?? whyNoLoopMount('xfs');
  if (noLoop !== undefined) console.warn(`SKIPPED: power cuts under a store on ${type}: ${noLoop}`);

  describe.skipIf(noLoop !== undefined)(`a power cut under a store on ${type} (fault 35)`, () => {
    it(`at ${cutsPerFilesystem} instants: all that was acknowledged is there, whole, and nothing half-made is listed`, async () => {
      const { problems, cuts, seen } = await cutWhileAtWork({
        ...{ type, script, lookAt },
        ...{ manner: 'careful', count: cutsPerFilesystem },
      });
      expect(problems).toEqual([]);
      expect(cuts).toBe(cutsPerFilesystem);
      // Cuts fell into the making and the removing, or this has proved nothing.
      expect(seen.incoming).toBeGreaterThan(0);
      expect(seen.listed).toBeGreaterThan(cutsPerFilesystem);
    }, 300_000);

    it('is noticed by this test when somebody leaves out the fsync of directories', async () => {
      const { problems } = await cutWhileAtWork({ type, script, lookAt, manner: 'careless', count: 12 });
      expect(problems.join()).toMatch(/is not listed/);
    }, 300_000);
  });
}

async function lookAt(path: string, { sealed, removed, pinned }: Promises): Promise<FoundAfterCut> {
  const store = new DirectoryStore({ name: 'local', path });
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
  const incomings = await store.incomings();
  for (const incoming of incomings) await store.discard(incoming);
  await store.emptyTrash();
  await store.sweepBackings({ dryRun: false, without: new Set() });
  const after = await store.list();
  if (after.length !== listed.length || !after.every(isSound)) problems.push('clearing up took a snapshot');
  return { problems, incoming: incomings.length, listed: listed.length };
}

async function isWhole(store: DirectoryStore, stored: SoundSnapshot): Promise<boolean> {
  for (const disk of stored.manifest.disks) {
    const files = [{ sha256: disk.sha256, file: await store.openFile(stored, disk.file) }];
    if (disk.backing) {
      files.push({ sha256: disk.backing.sha256, file: await store.openBacking(stored, disk.backing.file) });
    }
    for (const { sha256, file } of files) {
      const content = await bytesOf(file);
      if (createHash('sha256').update(content).digest('hex') !== sha256) return false;
    }
  }
  return true;
}
