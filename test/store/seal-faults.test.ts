import { cp, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { DirectoryStore } from '../../src/store/directory-store.js';
import { canTrace, withInjected } from '../capture/traced.js';
import { callsUnderFault, lookAfterEachCall, someOf } from '../support/each-call.js';
import { type ScriptChild, startScript } from '../support/script-child.js';
import { waitFor } from '../support/wait-for.js';
import { expectAllWhole } from './capture-of-tests.js';
import { freshStore, storeAt } from './fresh-store.js';
import { contentIn, sealSparse } from './sparse-snapshots.js';

/** A real process that seals, with real system calls that fail or kill it (strace's injection). */

const traceable = await canTrace();
if (!traceable) console.warn('SKIPPED: faults at each system call of a seal: strace can not attach');
const fresh = freshStore();

let sealing: ScriptChild;
let heard: number;
async function nextWord(): Promise<string> {
  await waitFor('the next word', () => sealing.lines.length > heard, { everyMs: 2 });
  return sealing.lines[heard++] ?? '';
}

/** Until it is about to seal. One thread, since strace counts the calls of each. */
async function startSealing(): Promise<void> {
  const env = { UV_THREADPOOL_SIZE: '1' };
  sealing = startScript(new URL('./seal-child.ts', import.meta.url), [fresh.store.path], env);
  heard = 0;
  expect(await nextWord()).toBe('ready');
}
async function endSealing(): Promise<void> {
  sealing.kill('SIGKILL');
  await sealing.exited;
}

describe.skipIf(!traceable)('a seal', () => {
  beforeEach(startSealing);
  afterEach(endSealing);

  it('is given up at the first fsync that fails, whichever it is, and that one is never tried again (fault 31)', async () => {
    const sealUnder = (fault: string) =>
      callsUnderFault(sealing.pid, fault, async () => {
        sealing.go();
        return await nextWord();
      });
    // Two disks, the manifest, the directory, its parent; and a sixth there is not.
    for (let nth = 1; nth <= 5; nth++) {
      const { count, result } = await sealUnder(`fsync:error=EIO:when=${nth}`);
      expect(result).toContain('StoreUnusable an I/O error');
      expect(count).toBe(nth);
      expect(await fresh.store.list()).toEqual([]);
      expect(await readdir(join(fresh.store.path, 'debian'))).toEqual([]);
      sealing.go();
      expect(await nextWord()).toBe('ready');
    }
    expect(await sealUnder('fsync:error=EIO:when=6')).toEqual({ result: 'sealed', count: 5 });
    expect(await fresh.store.list()).toMatchObject([{ snapshot: 'debian@20261121T031500Z', manifest: {} }]);
  });

  it('killed by SIGKILL at any system call that changes something lists either nothing or a whole snapshot', async () => {
    const copy = join(fresh.dir, 'copy');
    const found: number[] = [];
    const kill = () => sealing.kill('SIGKILL');
    // To its end.
    const seal = () => [sealing.go(), sealing.go()];
    const count = await lookAfterEachCall(sealing.pid, seal, async () => {
      await cp(fresh.store.path, copy, { recursive: true });
      found.push(await nothingOrAWholeSnapshot(storeAt(copy)));
      await rm(copy, { recursive: true });
    });
    // It came in between, and then stayed.
    expect(found[0]).toBe(0);
    expect(found.at(-1)).toBe(1);
    expect(found.toSorted()).toEqual(found);
    for (const place of someOf(count)) {
      await fresh.store.remove('debian@20261121T031500Z').catch(() => undefined);
      await endSealing();
      await startSealing();
      await lookAfterEachCall(sealing.pid, seal, async (nth) => nth >= place && kill());
      expect(await nothingOrAWholeSnapshot(fresh.store)).toBe(found[place] ?? 1);
    }
  }, 600_000);
});

describe.skipIf(!traceable)('a received snapshot', () => {
  it.each([
    ['disk', 'ubd0.cow'],
    ['backing file', 'backing-ubd0'],
  ])(
    'of whose %s a write was lost, though the store said yes, is told as damaged and not kept',
    async (_, file) => {
      const pieceBytes = 2 ** 20;
      const bytes = Buffer.alloc(2 * pieceBytes, 'a disk ');
      const backing = join(fresh.dir, 'base.img');
      await writeFile(backing, bytes);
      const disk = { ubd0: { bytes, backing } };
      const { snapshot } = await sealSparse(fresh.store, 'debian@20261121T031500Z', disk);
      const content = await contentIn(fresh.store, snapshot);
      const other = storeAt(join(fresh.dir, 'other'));
      await other.prepare(null);
      const written = join(other.path, 'debian/.incoming-job-20261121T031500Z', file);
      const lost = `pwrite64:retval=${pieceBytes}:when=1`;
      const receiving = withInjected(process.pid, [lost], () => other.receive(content), written);
      // What was read was sound, and was hashed as it came by: only what lies there now tells.
      const problem = expect.stringContaining('reads differently from what was written');
      await expect(receiving).rejects.toMatchObject({ code: 'CaptureDamaged', facts: { problem } });
      expect(await other.list()).toEqual([]);
      expect(await readdir(join(other.path, 'debian'))).toEqual([]);
    },
  );
});

async function nothingOrAWholeSnapshot(store: DirectoryStore): Promise<number> {
  const listed = await expectAllWhole(store);
  for (const incoming of await store.incomings()) await store.discard(incoming);
  expect((await readdir(join(store.path, 'debian'))).length).toBe(listed.length);
  return listed.length;
}
