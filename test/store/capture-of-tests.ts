import { createHash } from 'node:crypto';
import { readdir, readlink, writeFile } from 'node:fs/promises';
import type { ImageContent } from '../../src/image/image-content.js';
import { stampOf } from '../../src/image/open-disk.js';
import type { StoredBacking } from '../../src/store/backing-files.js';
import type { DirectoryStore } from '../../src/store/directory-store.js';
import type { Incoming } from '../../src/store/incoming.js';
import type { Owner } from '../../src/store/manifest.js';
import type { SealDisk, SealDraft } from '../../src/store/seal.js';
import type { Store } from '../../src/store/store.js';
import { isSound, type SoundSnapshot } from '../../src/store/stored-snapshots.js';
import { withOpen } from '../image/make-image.js';

/** What a capture leaves in the incoming directory, written by hand; with a backing file, each of its disks is COW. */
export async function capture(
  incoming: Incoming,
  contents: Record<string, Buffer> = { ubd0: Buffer.alloc(70_001, 'a disk ') },
  backing?: StoredBacking,
): Promise<SealDisk[]> {
  const disks: SealDisk[] = [];
  for (const [device, content] of Object.entries(contents)) {
    const write = (path: string) => writeFile(path, content, { flag: 'wx', mode: 0o600 });
    disks.push(await captureDisk(incoming, device, write, backing));
  }
  return disks;
}

export async function captureDisk(
  incoming: Incoming,
  device: string,
  write: (path: string) => Promise<void>,
  backing?: StoredBacking,
): Promise<SealDisk> {
  const file = `${device}.${backing ? 'cow' : 'img'}`;
  await write(incoming.pathOf(file));
  const stamp = await withOpen(incoming.pathOf(file), 'r', ({ fd }) => stampOf(fd));
  const facts = { device, file, sizeBytes: stamp.sizeBytes, stamp };
  const disk = { ...facts, sourcePath: `/srv/uml/${file}`, mtime: '2026-11-21T03:14:00.000Z' };
  return backing ? { ...disk, kind: 'cow', backing } : { ...disk, kind: 'raw' };
}

export const storeBackingOf = (
  store: DirectoryStore,
  incoming: Incoming,
  path: string,
  signal?: AbortSignal,
) => withOpen(path, 'r', ({ fd }) => store.storeBacking(incoming, { device: 'ubd0', path, fd }, signal));

/** The state directory of these tests, as an owner. */
export const ours = { id: '5b1f6c52-6f5e-4f0e-8d0c-0a4f2c9b7d11', host: 'here' };
export const theirs = { id: 'c0ffee00-1111-4222-8333-444455556666', host: 'there' };

export function draftOf(
  incoming: Incoming,
  disks: SealDisk[],
  directory = '20261121T031500Z',
  changes: Partial<SealDraft> = {},
): SealDraft {
  const { guest, job } = incoming;
  return {
    ...{ format: 'umlsnap/2', snapshot: `${guest}@${directory}`, guest, job, owner: ours },
    ...{ takenAt: '2026-11-21T03:15:00.000Z', kernel: 'Linux debian 6.1.176 x86_64' },
    ...{ consistency: 'synced', dirtyKib: 0, method: 'copy', pausedMs: 12.5 },
    ...{ labels: { why: 'a test' }, pinned: false, disks },
    ...changes,
  };
}

/** A whole snapshot in the store. */
export async function storeSnapshot(store: DirectoryStore, guest: string, directory: string) {
  const incoming = await store.begin(guest, `job-${directory}`);
  return store.seal(incoming, draftOf(incoming, await capture(incoming), directory));
}

/** By its name, whosever it is. */
export const trashIn = async (store: Store, snapshot: string) =>
  await store.moveToTrash(await store.read(snapshot));
export const pinIn = async (store: Store, snapshot: string, pinned: boolean) =>
  await store.amend(await store.read(snapshot), { pinned });

export const adoptIn = async (store: Store, snapshot: string, owner: Owner) =>
  await store.amend(await store.read(snapshot), { owner });

/** At so much of its size; done twice, it is undone. */
export const flipByte = (path: string, share = 0.5, mask = 0x10) =>
  withOpen(path, 'r+', async (file) => {
    const at = Math.floor((await file.stat()).size * share);
    const byte = Buffer.alloc(1);
    await file.read(byte, 0, 1, at);
    await file.write(Buffer.of((byte[0] ?? 0) ^ mask), 0, 1, at);
  });

/** In this process. */
export async function timesOpen(path: string): Promise<number> {
  const links = (await readdir('/proc/self/fd')).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => ''));
  return (await Promise.all(links)).filter((link) => link === path).length;
}

/** All of a small file of a snapshot, whichever way it comes. */
export async function bytesOf(content: ImageContent): Promise<Buffer> {
  try {
    if (content.from === 'file') return await content.handle.readFile();
    let bytes = Buffer.alloc(0);
    for await (const { offset, data } of content.pieces) {
      bytes = Buffer.concat([bytes, Buffer.alloc(offset - bytes.length), data]);
    }
    return bytes;
  } finally {
    await content.close();
  }
}

/** Whether all that a snapshot holds is what its manifest says, backing files included. */
export async function isWhole(store: Store, stored: SoundSnapshot): Promise<boolean> {
  const { disks } = stored.manifest;
  const files = [
    ...disks.map((disk) => ({ ...disk, open: () => store.openFile(stored, disk.file) })),
    ...disks.flatMap(({ backing }) =>
      backing ? [{ ...backing, open: () => store.openBacking(stored, backing.file) }] : [],
    ),
  ];
  for (const { open, sizeBytes, sha256 } of files) {
    const bytes = await bytesOf(await open());
    const hash = createHash('sha256').update(bytes);
    // A stream tells of no hole at the end.
    if (hash.update(Buffer.alloc(sizeBytes - bytes.length)).digest('hex') !== sha256) return false;
  }
  return true;
}

/** What a store lists: all of it has to be sound, and whole. @returns the names */
export async function expectAllWhole(store: Store): Promise<string[]> {
  const listed = await store.list();
  for (const stored of listed) {
    if (!isSound(stored)) throw new Error(`${stored.snapshot} is listed, and damaged: ${stored.damaged}`);
    if (!(await isWhole(store, stored)))
      throw new Error(`${stored.snapshot} is listed, and not what was sealed`);
  }
  return listed.map(({ snapshot }) => snapshot);
}
