import { describe, expect, it } from 'vitest';
import { verifySnapshot } from '../../../src/restore/verify-snapshot.js';
import { isSound } from '../../../src/store/stored-snapshots.js';
import { findIncoming } from '../../../src/store/tar/archive-layout.js';
import { TarStore } from '../../../src/store/tar/tar-store.js';
import { whyNoLoopMount } from '../../support/loop-filesystem.js';
import { cutWhileAtWork, type FoundAfterCut, type Promises } from '../cut-while-at-work.js';
import { contentIn } from '../sparse-snapshots.js';

/** Fault 35 for archives, by clones of the store's filesystem while a process receives, pins and removes them. */

const cutsPerFilesystem = 60;
const script = new URL('./power-cut-child.ts', import.meta.url);

for (const type of ['ext4', 'xfs'] as const) {
  const noLoop = whyNoLoopMount(type) ?? whyNoLoopMount('xfs');
  if (noLoop !== undefined) console.warn(`SKIPPED: power cuts under archives on ${type}: ${noLoop}`);

  describe.skipIf(noLoop !== undefined)(`a power cut under archives on ${type} (fault 35)`, () => {
    it(`at ${cutsPerFilesystem} instants: all that was acknowledged is there, whole, and nothing half-made is listed`, async () => {
      const { problems, cuts, seen } = await cutWhileAtWork({
        ...{ type, script, lookAt },
        ...{ manner: 'careful', count: cutsPerFilesystem },
      });
      expect(problems).toEqual([]);
      expect(cuts).toBe(cutsPerFilesystem);
      // Cuts fell into the making, or this has proved nothing.
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
  const store = new TarStore({ name: 'archives', path, compression: 'none' });
  const problems: string[] = [];
  const listed = await store.list();
  const names = new Set(listed.map(({ snapshot }) => snapshot));
  for (const name of sealed)
    if (!names.has(name)) problems.push(`${name} was acknowledged and is not listed`);
  for (const stored of listed) {
    const { snapshot } = stored;
    if (removed.has(snapshot)) problems.push(`${snapshot} was removed and is listed`);
    if (!isSound(stored)) problems.push(`${snapshot} is damaged: ${stored.damaged}`);
    else {
      const { signal } = new AbortController();
      const verdict = await verifySnapshot(await contentIn(store, snapshot), { signal });
      if (!verdict.ok) problems.push(`${snapshot} is not what was received: ${verdict.problem}`);
      if (pinned.get(snapshot) === !stored.manifest.pinned) problems.push(`${snapshot} lost its pin`);
    }
  }
  const incoming = await findIncoming({ name: 'archives', path }, 'debian');
  await store.emptyTrash();
  const after = await store.list();
  if (after.length !== listed.length || !after.every(isSound)) problems.push('clearing up took a snapshot');
  return { problems, incoming: incoming.length, listed: listed.length };
}
