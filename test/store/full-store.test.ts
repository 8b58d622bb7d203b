import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { DirectoryStore } from '../../src/store/directory-store.js';
import type { Incoming } from '../../src/store/incoming.js';
import { whyNoLoopMount, withLoopFilesystem } from '../support/loop-filesystem.js';
import { capture, draftOf, expectAllWhole, storeBackingOf, storeSnapshot } from './capture-of-tests.js';
import { fillUpTo } from './fill-up.js';
import { storeAt } from './fresh-store.js';

/** How finely the room is varied. XFS keeps room for itself and makes room as it goes. */
const filesystems = { ext4: { sizeMiB: 8, stepKib: 8 }, xfs: { sizeMiB: 300, stepKib: 64 } };

const debian = 'debian@20261121T031500Z';
const older = 'older@20260120T031500Z';

for (const type of ['ext4', 'xfs'] as const) {
  const noLoop = whyNoLoopMount(type);
  if (noLoop !== undefined) console.warn(`SKIPPED: a full store on ${type}: ${noLoop}`);
  const { sizeMiB, stepKib } = filesystems[type];

  it.skipIf(noLoop !== undefined)(
    `a full store on ${type} fails at whichever write meets the end, lists nothing, and leaves nothing once discarded (fault 29)`,
    async () => {
      const reached = new Set<string>();
      await withStore({ type, sizeMiB }, async (store, source) => {
        await storeSnapshot(store, 'older', '20260120T031500Z');
        for (let leftKib = 0; !reached.has('sealed'); leftKib += stepKib) {
          const filler = await fillUpTo(join(store.path, 'filler'), leftKib);
          const step = await stepOfTheEnd(store, source);
          reached.add(step);
          await rm(filler);
          expect(await expectAllWhole(store)).toEqual(step === 'sealed' ? [debian, older] : [older]);
          expect(await store.incomings()).toEqual([]);
          // It works again as soon as there is room.
          if (step !== 'sealed') expect(await stepOfTheEnd(store, source)).toBe('sealed');
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
    await withStore({ type: 'ext4', sizeMiB: 8, inodes: 64 }, async (store, source) => {
      for (let leftInodes = 0; ; leftInodes++) {
        await useUpInodes(store, leftInodes);
        const step = await stepOfTheEnd(store, source);
        reached.add(step);
        if (step === 'sealed') return;
        expect(await store.list()).toEqual([]);
        expect(await store.incomings()).toEqual([]);
        await drop(store, 'debian', '.backing', '.trash', 'lost+found/filler');
      }
    });
    // Every step makes a file or a directory of its own; which of two neighbours meets the end, ext4's own counting decides.
    expect([...reached]).toEqual(expect.arrayContaining(['begin', 'capture', 'sealed']));
  },
);

const drop = async (store: DirectoryStore, ...names: string[]) => {
  for (const name of names) await rm(join(store.path, name), { recursive: true, force: true });
};

/** Makes one snapshot as a job does: how far it came before the store was full. What failed is discarded. */
async function stepOfTheEnd(store: DirectoryStore, source: string): Promise<string> {
  let step = 'begin';
  let incoming: Incoming | undefined;
  try {
    incoming = await store.begin('debian', 'job-1');
    step = 'backing';
    const backing = await storeBackingOf(store, incoming, source);
    step = 'capture';
    const disks = await capture(incoming, undefined, backing);
    step = 'seal';
    await store.seal(incoming, draftOf(incoming, disks));
    return 'sealed';
  } catch (error) {
    // The capture is the tests' own, and its failure no store's.
    const full = { code: 'StoreTooFull', facts: { store: 'local' } };
    expect(error).toMatchObject(step === 'capture' ? { code: 'ENOSPC' } : full);
    if (incoming !== undefined) await store.discard(incoming);
    return step;
  }
}

async function withStore(
  options: Parameters<typeof withLoopFilesystem>[0],
  use: (store: DirectoryStore, source: string) => Promise<void>,
): Promise<void> {
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
