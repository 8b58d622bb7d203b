import { mkdirSync } from 'node:fs';
import { mkdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ensureStateId } from '../../src/history/state-id.js';
import { stampOf } from '../../src/image/open-disk.js';
import { dropLease, endLease, leaseFile, writeLease } from '../../src/pause/lease.js';
import { restoreInPlace } from '../../src/restore/restore-in-place.js';
import { restoreToDirectory } from '../../src/restore/restore-to-directory.js';
import { DirectoryStore } from '../../src/store/directory-store.js';
import { TarStore } from '../../src/store/tar/tar-store.js';
import { withOpen } from '../image/make-image.js';
import { storePair, storeSnapshot as layOutSnapshot } from '../restore/stored-snapshot.js';
import { adoptIn, capture, draftOf, ours, pinIn, theirs, trashIn } from '../store/capture-of-tests.js';
import { contentIn } from '../store/sparse-snapshots.js';

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
  const backing = await withOpen(base, 'r', ({ fd }) => {
    step('backing');
    return store.storeBacking(incoming, { device: 'ubd1', path: base, fd });
  });
  step('capture');
  const [disk, cow] = await capture(incoming, { ubd0: Buffer.from('one'), ubd1: Buffer.from('two') });
  if (!disk || !cow) throw new Error('two disks were captured');
  await rename(incoming.pathOf(cow.file), incoming.pathOf('ubd1.cow'));
  const stamp = await withOpen(incoming.pathOf('ubd1.cow'), 'r', ({ fd }) => stampOf(fd));
  const ofCow = { ...cow, kind: 'cow' as const, file: 'ubd1.cow', stamp, backing };
  step('seal');
  await store.seal(incoming, draftOf(incoming, [disk, ofCow]));
  step('pin');
  await pinIn(store, snapshot, true);
  step('adopt');
  await adoptIn(store, snapshot, ours);
  return store;
}

async function storeOfArchives(from: DirectoryStore): Promise<void> {
  step('archives');
  const archives = new TarStore({ name: 'tar', path: join(dir, 'archives'), compression: 'none' });
  await archives.prepare(null);
  step('archive');
  await archives.receive(await contentIn(from, snapshot));
  step('healed');
  const healed = new DirectoryStore({ name: 'healed', path: join(dir, 'healed') });
  await healed.prepare(null);
  const content = await contentIn(from, snapshot);
  await healed.receive(content);
  step('heal');
  await healed.heal(await healed.read(snapshot), content);
  step('archive-heal');
  await archives.heal(await archives.read(snapshot), content, {});
  await archives.emptyTrash();
  step('archive-pin');
  await pinIn(archives, snapshot, true);
  step('archive-adopt');
  await adoptIn(archives, snapshot, theirs);
  step('archive-adopt-again');
  await adoptIn(archives, snapshot, ours);
  step('archive-trash');
  await trashIn(archives, snapshot);
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
  const inDisks = (name: string) => join(disks, name);
  for (const name of ['root.img', 'data.cow']) await writeFile(inDisks(name), 'the old disk');
  const targets = [
    { device: 'ubd0', path: inDisks('root.img') },
    { device: 'ubd1', path: inDisks('data.cow'), backingPath: backing.path },
    { device: 'ubd2', path: inDisks('lost.img') },
  ];
  step('restore');
  const now = new Date('2026-11-21T03:15:00Z');
  const { signal } = new AbortController();
  await restoreInPlace(source, targets, { signal, keepReplaced: false, now });
  step('pair');
  const pair = await storePair(join(dir, 'pair'));
  await mkdir(join(dir, 'images'));
  step('restore-merged');
  await restoreToDirectory(pair, join(dir, 'images'), { signal, merge: true });
  step('restore-new');
  await restoreToDirectory(source, join(dir, 'new', 'er'), { signal });
}

await leases();
step('state-id');
await ensureStateId(join(dir, 'own'), { stateId: async () => null, rememberStateId: async () => {} });
const store = await storeOfDirectories();
await storeOfArchives(store);
step('trash');
await trashIn(store, snapshot);
step('trash-empty');
await store.emptyTrash();
await restore();
step('end');
