import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { DirectoryStore } from '../../../src/store/directory-store.js';
import { sealManifest } from '../../../src/store/manifest.js';
import { TarStore } from '../../../src/store/tar/tar-store.js';
import { leaveOutDirectories } from '../careless-sync.js';
import { contentIn, sealSparse } from '../sparse-snapshots.js';

/**
 * A process that has a store of archives receive snapshots, pins and removes them, until it is killed. The store is its first
 * argument; what it receives is made in its second. Tells each thing before it begins (`removing NAME`) and once it is
 * acknowledged (`sealed`, `pinned`, `removed`). `careless` leaves out every fsync of a directory.
 */

const [path = '', scratch = '', manner = ''] = process.argv.slice(2);
const source = new DirectoryStore({ name: 'source', path: join(scratch, 'source') });
const store = new TarStore({ name: 'archives', path, compression: 'none' });

const say = (...words: string[]) => process.stdout.write(`${words.join(' ')}\n`);

async function receive(number: number): Promise<string> {
  const takenAt = new Date(Date.UTC(2026, 10, 21) + number * 1000).toISOString();
  const snapshot = `debian@${takenAt.replace(/[-:]|\.\d+/g, '')}`;
  const { checksum: _, ...facts } = content.manifest;
  await store.receive({ ...content, manifest: sealManifest({ ...facts, snapshot, takenAt }) }, {});
  say('sealed', snapshot);
  return snapshot;
}

async function pin(snapshot: string, pinned: boolean): Promise<void> {
  say('pinning', snapshot);
  await store.setPinned(snapshot, pinned);
  say(pinned ? 'pinned' : 'unpinned', snapshot);
}

async function remove(snapshot: string): Promise<void> {
  say('removing', snapshot);
  await store.moveToTrash(snapshot);
  await store.emptyTrash();
  say('removed', snapshot);
}

await source.prepare(null);
const image = { sizeBytes: 500_001, pieces: [{ offset: 65_536, length: 60_001 }] };
await sealSparse(source, 'debian@20261120T000000Z', { ubd0: image });
const content = await contentIn(source, 'debian@20261120T000000Z');
if (manner === 'careless') await leaveOutDirectories(await open(scratch));
await store.prepare(null);
say('ready');
const kept: string[] = [];
for (let number = 0; ; number++) {
  const snapshot = await receive(number);
  kept.push(snapshot);
  if (number % 2 === 0) await pin(snapshot, true);
  if (number % 4 === 0) await pin(snapshot, false);
  if (kept.length > 3) await remove(kept.shift() ?? '');
}
