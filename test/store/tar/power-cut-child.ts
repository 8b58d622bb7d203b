import { join } from 'node:path';
import { DirectoryStore } from '../../../src/store/directory-store.js';
import { sealManifest } from '../../../src/store/manifest.js';
import { TarStore } from '../../../src/store/tar/tar-store.js';
import { contentIn, sealSparse } from '../sparse-snapshots.js';
import { begin, path, pin, say, scratch, timeOf } from '../work-until-cut.js';

/** Has a store of archives receive snapshots, pins and removes them. */

const source = new DirectoryStore({ name: 'source', path: join(scratch, 'source') });
const store = new TarStore({ name: 'archives', path, compression: 'none' });

async function receive(number: number): Promise<string> {
  const { takenAt, directory } = timeOf(number);
  const snapshot = `debian@${directory}`;
  const { checksum: _, ...facts } = content.manifest;
  await store.receive({ ...content, manifest: sealManifest({ ...facts, snapshot, takenAt }) }, {});
  say('sealed', snapshot);
  return snapshot;
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
await begin(store);
const kept: string[] = [];
for (let number = 0; ; number++) {
  const snapshot = await receive(number);
  kept.push(snapshot);
  if (number % 2 === 0) await pin(store, snapshot, true);
  if (number % 4 === 0) await pin(store, snapshot, false);
  if (kept.length > 3) await remove(kept.shift() ?? '');
}
