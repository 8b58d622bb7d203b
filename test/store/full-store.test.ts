import { mkdir, open, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { DirectoryStore } from '../../src/store/directory-store.js';
import type { Incoming } from '../../src/store/incoming.js';
import { type FilesystemType, whyNoLoopMount, withLoopFilesystem } from '../support/loop-filesystem.js';
import { withTempDir } from '../support/temp-dir.js';
import { capture, draftOf, storeSnapshot } from './capture-of-tests.js';
import { fillUpTo } from './fill-up.js';

const sizeMiB: Record<'ext4' | 'xfs', number> = { ext4: 8, xfs: 300 };
/** How finely the room is varied. XFS keeps room for itself and makes room as it goes. */
const stepKib: Record<'ext4' | 'xfs', number> = { ext4: 8, xfs: 64 };

for (const type of ['ext4', 'xfs'] as const) {
  const noLoop = whyNoLoopMount(type);
  if (noLoop !== undefined) console.warn(`SKIPPED: a full store on ${type}: ${noLoop}`);

  describe.skipIf(noLoop !== undefined)(`a full store on ${type}`, () => {
    it('fails at whichever write meets the end, lists nothing, and leaves nothing once discarded', async () => {
      const reached = new Set<string>();
      await withStore(type, async (store, source) => {
        await storeSnapshot(store, 'older', '20261120T031500Z');
        for (let leftKib = 0; !reached.has('sealed'); leftKib += stepKib[type]) {
          const filler = await fillUpTo(join(store.path, 'filler'), leftKib);
          const end = await makeSnapshot(store, source);
          reached.add(end.step);
          if (end.step !== 'sealed') expect(end.error).toMatchObject({ code: 'StoreTooFull' });
          await rm(filler);
          const listed = (await store.list()).map((stored) => stored.snapshot);
          expect(listed).toEqual(end.step === 'sealed' ? [...sealed, ...older] : older);
          expect(await store.incomings()).toEqual([]);
          // It works again as soon as there is room.
          if (end.step !== 'sealed') expect(await makeSnapshot(store, source)).toEqual({ step: 'sealed' });
          // As it was before, with no directory that another one has made room for.
          await store.remove(sealed[0] ?? '');
          for (const made of ['debian', '.backing', '.trash'])
            await rm(join(store.path, made), { recursive: true, force: true });
        }
      });
      expect(reached.size).toBeGreaterThan(1);
    });
  });
}

const sealed = ['debian@20261121T031500Z'];
const older = ['older@20261120T031500Z'];

const noExt4 = whyNoLoopMount('ext4');
if (noExt4 !== undefined) console.warn(`SKIPPED: a store without inodes: ${noExt4}`);

describe.skipIf(noExt4 !== undefined)('a store without inodes', () => {
  it('fails at whichever file is one too many, says so, and lists nothing', async () => {
    const reached = new Set<string>();
    const use = async (store: DirectoryStore, source: string) => {
      for (let leftInodes = 0; !reached.has('sealed'); leftInodes++) {
        await useUpInodes(store, leftInodes);
        const end = await makeSnapshot(store, source);
        reached.add(end.step);
        if (end.step === 'sealed') return;
        expect(end.error).toMatchObject({ code: 'StoreTooFull', facts: { store: 'local' } });
        expect(await store.list()).toEqual([]);
        expect(await store.incomings()).toEqual([]);
        for (const made of ['debian', '.backing', '.trash', 'lost+found/filler'])
          await rm(join(store.path, made), { recursive: true, force: true });
      }
    };
    await withStore('ext4', use, 64);
    // Every step makes a file or a directory of its own; which of two neighbours meets the end, ext4's own counting decides.
    expect([...reached]).toEqual(expect.arrayContaining(['begin', 'capture', 'sealed']));
  });
});

describe('room', () => {
  it('is what a process without the reserve of root can use', async () => {
    await withTempDir(async (dir) => {
      const room = await new DirectoryStore({ name: 'local', path: dir }).free();
      expect(room.bytes).toBeGreaterThan(0);
      expect(Number.isSafeInteger(room.inodes)).toBe(true);
    });
  });
});

type End = { step: 'begin' | 'backing' | 'capture' | 'seal'; error: unknown } | { step: 'sealed' };

/** One snapshot as a job makes it, and what became of it; discarded when it failed. */
async function makeSnapshot(store: DirectoryStore, source: string): Promise<End> {
  let step: 'begin' | 'backing' | 'capture' | 'seal' = 'begin';
  let incoming: Incoming | undefined;
  const file = await open(source, 'r');
  try {
    incoming = await store.begin('debian', 'job-1');
    step = 'backing';
    const backing = await store.storeBacking(incoming, { device: 'ubd0', path: source, fd: file.fd });
    step = 'capture';
    const disks = await capture(incoming).catch((error: NodeJS.ErrnoException) => {
      // The capture's own concern; here it only has to be told from the store's failures.
      if (error.code === 'ENOSPC')
        throw Object.assign(error, { code: 'StoreTooFull', facts: { store: 'local' } });
      throw error;
    });
    step = 'seal';
    await store.seal(
      incoming,
      draftOf(
        incoming,
        disks.map((disk) => ({ ...disk, kind: 'cow', backing })),
      ),
    );
    return { step: 'sealed' };
  } catch (error) {
    if (incoming !== undefined) await store.discard(incoming);
    return { step, error };
  } finally {
    await file.close();
  }
}

async function withStore(
  type: FilesystemType & keyof typeof sizeMiB,
  use: (store: DirectoryStore, source: string) => Promise<void>,
  inodes?: number,
): Promise<void> {
  const options = { type, sizeMiB: sizeMiB[type], ...(inodes !== undefined && { inodes }) };
  await withTempDir(async (dir) => {
    const source = join(dir, 'backing.img');
    await writeFile(source, Buffer.alloc(20_000, 'backing'));
    await withLoopFilesystem(options, async (mountPoint) => {
      const store = new DirectoryStore({ name: 'local', path: mountPoint });
      await store.prepare(null);
      await use(store, source);
    });
  });
}

async function useUpInodes(store: DirectoryStore, leftInodes: number): Promise<void> {
  const directory = join(store.path, 'lost+found', 'filler');
  await mkdir(directory);
  const { inodes } = await store.free();
  for (let number = 0; number < inodes - leftInodes; number++)
    await writeFile(join(directory, `${number}`), '');
  expect((await store.free()).inodes).toBe(leftInodes);
  expect((await readdir(directory)).length).toBe(inodes - leftInodes);
}
