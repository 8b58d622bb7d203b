import { mkdirSync } from 'node:fs';
import { mkdir, open, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stampOf } from '../../src/image/open-disk.js';
import { dropLease, endLease, leaseFile, writeLease } from '../../src/pause/lease.js';
import { restoreInPlace } from '../../src/restore/restore-in-place.js';
import { restoreToDirectory } from '../../src/restore/restore-to-directory.js';
import { DirectoryStore } from '../../src/store/directory-store.js';
import { isSound } from '../../src/store/stored-snapshots.js';
import { TarStore } from '../../src/store/tar/tar-store.js';
import { storeSnapshot as layOutSnapshot } from '../restore/stored-snapshot.js';
import { capture, draftOf } from '../store/capture-of-tests.js';

/** A process that takes each step that has to outlast a power cut, once, and makes a directory `step/NAME` before it. */

const [dir = ''] = process.argv.slice(2);
const step = (name: string) => mkdirSync(join(dir, 'step', name), { recursive: true });
const snapshot = 'debian@20261121T031500Z';

async function leases(): Promise<void> {
  const file = leaseFile(join(dir, 'state'), 'debian');
  const someone = { pid: 7, startTicks: 70 };
  const deadlineAt = '2026-11-21T03:15:05.000Z';
  step('lease');
  await writeLease(file, {
    ...{ guest: 'debian', job: 'job', pause: 'job.1', socketPath: '/s', deadlineAt },
    ...{ main: someone, orchestrator: someone, guardian: someone },
  });
  step('lease-end');
  endLease(file, 'job.1', { endedAt: deadlineAt, endedBy: 'request', pausedMs: 1.5 });
  step('lease-drop');
  dropLease(file, 'job.1');
}

async function storeOfDirectories(): Promise<DirectoryStore> {
  const store = new DirectoryStore({ name: 'local', path: join(dir, 'store') });
  step('prepare');
  await store.prepare(null);
  step('begin');
  const incoming = await store.begin('debian', 'job-1');
  const base = join(dir, 'base.img');
  await writeFile(base, 'backing');
  const source = await open(base);
  step('backing');
  const backing = await store.storeBacking(incoming, { device: 'ubd1', path: base, fd: source.fd });
  await source.close();
  step('capture');
  const [disk, cow] = await capture(incoming, { ubd0: Buffer.from('one'), ubd1: Buffer.from('two') });
  if (!disk || !cow) throw new Error('two disks were captured');
  await rename(incoming.pathOf(cow.file), incoming.pathOf('ubd1.cow'));
  const renamed = await open(incoming.pathOf('ubd1.cow'));
  const ofCow = { ...cow, kind: 'cow' as const, file: 'ubd1.cow', stamp: await stampOf(renamed.fd), backing };
  await renamed.close();
  step('seal');
  await store.seal(incoming, draftOf(incoming, [disk, ofCow]));
  step('pin');
  await store.setPinned(snapshot, true);
  return store;
}

async function storeOfArchives(from: DirectoryStore): Promise<void> {
  step('archives');
  const found = await from.read(snapshot);
  if (!isSound(found)) throw new Error(found.damaged);
  const archives = new TarStore({ name: 'tar', path: join(dir, 'archives'), compression: 'none' });
  await archives.prepare(null);
  step('archive');
  await archives.receive({
    manifest: found.manifest,
    openFile: (file) => from.openFile(found, file),
    openBacking: (file) => from.openBacking(found, file),
  });
  step('archive-pin');
  await archives.setPinned(snapshot, true);
  step('archive-trash');
  await archives.moveToTrash(snapshot);
}

async function removal(store: DirectoryStore): Promise<void> {
  step('trash');
  await store.moveToTrash(snapshot);
  step('trash-empty');
  await store.emptyTrash();
}

async function restore(): Promise<void> {
  step('disks');
  const disks = join(dir, 'disks');
  await mkdir(disks);
  const image = { sizeBytes: 70_000, pieces: [{ offset: 4096, length: 100 }] };
  const backing = { path: join(disks, 'base.img'), image, mtime: '2025-06-07T08:09:10.123Z' };
  const source = await layOutSnapshot(join(dir, 'snapshot'), [
    { device: 'ubd0', image },
    { device: 'ubd1', image, backing },
    { device: 'ubd2', image },
  ]);
  const [root, data, lost] = ['root.img', 'data.cow', 'lost.img'].map((name) => join(disks, name)) as [
    string,
    string,
    string,
  ];
  for (const path of [root, data]) await writeFile(path, 'the old disk');
  const targets = [
    { device: 'ubd0', path: root },
    { device: 'ubd1', path: data, backingPath: backing.path },
    { device: 'ubd2', path: lost },
  ];
  step('restore');
  const now = new Date('2026-11-21T03:15:00Z');
  const { signal } = new AbortController();
  await restoreInPlace(source, targets, { signal, keepReplaced: false, now });
  step('restore-new');
  await restoreToDirectory(source, join(dir, 'new', 'er'), { signal });
}

await leases();
const store = await storeOfDirectories();
await storeOfArchives(store);
await removal(store);
await restore();
step('end');
