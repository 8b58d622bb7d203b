import { open, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { GuestConfig } from '../../src/config/config.js';
import { SqliteHistory } from '../../src/history/sqlite-history.js';
import { recordOf } from '../../src/snapshot/describe-snapshot.js';
import { retain } from '../../src/snapshot/retain.js';
import { DirectoryStore } from '../../src/store/directory-store.js';
import { sealManifest } from '../../src/store/manifest.js';
import type { Store } from '../../src/store/store.js';
import { TarStore } from '../../src/store/tar/tar-store.js';
import { contentIn, sealSparse } from './sparse-snapshots.js';
import { pinIn, trashIn } from './capture-of-tests.js';

/**
 * A process that works in a store until it is killed: `power-cut-child.ts STORE SCRATCH KIND MANNER`. It tells each thing before it
 * begins (`removing NAME`, `pinning NAME`) and once it is acknowledged (`sealed`, `pinned`, `unpinned`, `removed`). With `careless` as
 * its manner, every fsync of a directory is left out.
 */
const [path = '', scratch = '', kind, manner] = process.argv.slice(2);

const say = (...words: string[]) => process.stdout.write(`${words.join(' ')}\n`);

/** A snapshot each second. */
const timeOf = (number: number) => new Date(Date.UTC(2026, 10, 21) + number * 1000).toISOString();
const nameOf = (number: number) => `debian@${timeOf(number).replace(/[-:]|\.\d+/g, '')}`;

async function pin(store: Store, snapshot: string, pinned: boolean): Promise<void> {
  say('pinning', snapshot);
  await pinIn(store, snapshot, pinned);
  say(pinned ? 'pinned' : 'unpinned', snapshot);
}

async function leaveOutDirectories(): Promise<void> {
  const handle = await open(scratch);
  const prototype = Object.getPrototypeOf(handle);
  const sync: () => Promise<void> = prototype.sync;
  prototype.sync = async function careless(this: typeof handle) {
    if (!(await this.stat()).isDirectory()) await sync.call(this);
  };
  await handle.close();
}

/** Seals, pins and prunes snapshots, some of them of COW disks. */
async function workInDirectories(): Promise<never> {
  const store = new DirectoryStore({ name: 'local', path });
  const history = await SqliteHistory.open(join(scratch, 'history.db'));
  const keeping = { name: 'debian', keep: { last: 2 }, timezone: 'UTC' } as GuestConfig;
  await store.prepare(null);
  const pinnedOnes: string[] = [];
  for (let number = 0; ; number++) {
    const snapshot = nameOf(number);
    const base = join(scratch, `backing-${number % 5}.img`);
    await writeFile(base, `backing ${number % 5} `.repeat(5000));
    await utimes(base, 1_700_000_000, 1_700_000_000);
    const cow = number % 2 ? { backing: base } : {};
    const { manifest } = await sealSparse(store, snapshot, {
      ubd0: { bytes: Buffer.alloc(60_000 + number, `disk ${number} `), ...cow },
      ubd1: { bytes: Buffer.alloc(5000, `${number}`), ...cow },
    });
    say('sealed', snapshot);
    await history.recordSnapshot(recordOf('local', manifest, 'own'));
    if (number % 3 === 0) {
      await pin(store, snapshot, true);
      pinnedOnes.push(snapshot);
    }
    if (pinnedOnes.length > 2) await pin(store, pinnedOnes.shift() ?? '', false);
    const now = new Date(Date.parse(timeOf(number)) + 1);
    const { removed } = await retain(keeping, store, history, { now, dryRun: true });
    for (const { snapshot } of removed) say('removing', snapshot);
    await retain(keeping, store, history, { now });
    for (const { snapshot } of removed) say('removed', snapshot);
  }
}

/** Receives snapshots, pins and removes them. */
async function workInArchives(): Promise<never> {
  const source = new DirectoryStore({ name: 'source', path: join(scratch, 'source') });
  const store = new TarStore({ name: 'archives', path, compression: 'none' });
  await source.prepare(null);
  const image = { sizeBytes: 500_001, pieces: [{ offset: 65_536, length: 60_001 }] };
  await sealSparse(source, nameOf(-1), { ubd0: image });
  const content = await contentIn(source, nameOf(-1));
  const { checksum: _, ...facts } = content.manifest;
  await store.prepare(null);
  const kept: string[] = [];
  for (let number = 0; ; number++) {
    const snapshot = nameOf(number);
    const manifest = sealManifest({ ...facts, snapshot, takenAt: timeOf(number) });
    await store.receive({ ...content, manifest }, {});
    say('sealed', snapshot);
    kept.push(snapshot);
    if (number % 2 === 0) await pin(store, snapshot, true);
    if (number % 4 === 0) await pin(store, snapshot, false);
    if (kept.length <= 3) continue;
    const oldest = kept.shift() ?? '';
    say('removing', oldest);
    await trashIn(store, oldest);
    await store.emptyTrash();
    say('removed', oldest);
  }
}

if (manner === 'careless') await leaveOutDirectories();
await (kind === 'archives' ? workInArchives() : workInDirectories());
