import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { DirectoryStore } from '../../src/store/directory-store.js';
import type { Incoming } from '../../src/store/incoming.js';
import { whyNoLoopMount, withLoopFilesystem } from '../support/loop-filesystem.js';
import { capture, draftOf, expectAllWhole, storeBackingOf, storeSnapshot } from './capture-of-tests.js';
import { fillUpTo } from './fill-up.js';
import { storeAt } from './fresh-store.js';

const sizeMiB = { ext4: 8, xfs: 300 };
/** How finely the room is varied. XFS keeps room for itself and makes room as it goes. */
const stepKib = { ext4: 8, xfs: 64 };

const debian = 'debian@20261121T031500Z';
const older = 'older@20260120T031500Z';

for (const type of ['ext4', 'xfs'] as const) {
  const noLoop = whyNoLoopMount(type);
  if (noLoop !== undefined) console.warn(`SKIPPED: a full store on ${type}: ${noLoop}`);

  it.skipIf(noLoop !== undefined)(
    `a full store on ${type} fails at whichever write meets the end, lists nothing, and leaves nothing once discarded (fault 29)`,
    async () => {
      const reached = new Set<string>();
      await withStore(type, async (store, source) => {
        await storeSnapshot(store, 'older', '20260120T031500Z');
        for (let leftKib = 0; !reached.has('sealed'); leftKib += stepKib[type]) {
          const filler = await fillUpTo(join(store.path, 'filler'), leftKib);
          const end = await makeSnapshot(store, source);
          reached.add(end.step);
          if (end.step !== 'sealed') expect(end.error).toMatchObject({ code: 'StoreTooFull' });
          await rm(filler);
          expect(await expectAllWhole(store)).toEqual(end.step === 'sealed' ? [debian, older] : [older]);
          expect(await store.incomings()).toEqual([]);
          // It works again as soon as there is room.
          if (end.step !== 'sealed') expect(await makeSnapshot(store, source)).toEqual({ step: 'sealed' });
          // As it was before, with no directory that another one has made room for.
          await store.remove(debian);
          await drop(store, 'debian', '.backing', '.trash');
        }
      });
      expect(reached.size).toBeGreaterThan(1);
    },
  );
}

const noExt4 = whyNoLoopMount('ext4');
if (noExt4 !== undefined) console.warn(`SKIPPED: a store without inodes: ${noExt4}`);

it.skipIf(noExt4 !== undefined)(
  'a store without inodes fails at whichever file is one too many, says so, and lists nothing (fault 30)',
  async () => {
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
        await drop(store, 'debian', '.backing', '.trash', 'lost+found/filler');
      }
    };
    await withStore('ext4', use, 64);
    // Every step makes a file or a directory of its own; which of two neighbours meets the end, ext4's own counting decides.
    expect([...reached]).toEqual(expect.arrayContaining(['begin', 'capture', 'sealed']));
  },
);

const drop = async (store: DirectoryStore, ...names: string[]) => {
  for (const name of names) await rm(join(store.path, name), { recursive: true, force: true });
};

type Step = 'begin' | 'backing' | 'capture' | 'seal';
type End = { step: Step; error: unknown } | { step: 'sealed' };

/** One snapshot as a job makes it, and what became of it; discarded when it failed. */
async function makeSnapshot(store: DirectoryStore, source: string): Promise<End> {
  let step: Step = 'begin';
  let incoming: Incoming | undefined;
  try {
    incoming = await store.begin('debian', 'job-1');
    step = 'backing';
    const backing = await storeBackingOf(store, incoming, source);
    step = 'capture';
    const disks = await capture(incoming, undefined, backing).catch((error: NodeJS.ErrnoException) => {
      // The capture's own concern; here it only has to be told from the store's failures.
      if (error.code === 'ENOSPC')
        throw Object.assign(error, { code: 'StoreTooFull', facts: { store: 'local' } });
      throw error;
    });
    step = 'seal';
    await store.seal(incoming, draftOf(incoming, disks));
    return { step: 'sealed' };
  } catch (error) {
    if (incoming !== undefined) await store.discard(incoming);
    return { step, error };
  }
}

async function withStore(
  type: 'ext4' | 'xfs',
  use: (store: DirectoryStore, source: string) => Promise<void>,
  inodes?: number,
): Promise<void> {
  const options = { type, sizeMiB: sizeMiB[type], ...(inodes !== undefined && { inodes }) };
  await withLoopFilesystem(options, async (mountPoint) => {
    const source = join(mountPoint, '..', 'backing.img');
    await writeFile(source, Buffer.alloc(20_000, 'backing'));
    const store = storeAt(mountPoint);
    await store.prepare(null);
    await use(store, source);
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
