import { utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { GuestConfig } from '../../src/config/config.js';
import { SqliteHistory } from '../../src/history/sqlite-history.js';
import { recordOf } from '../../src/snapshot/describe-snapshot.js';
import { retain } from '../../src/snapshot/retain.js';
import { DirectoryStore } from '../../src/store/directory-store.js';
import type { Incoming } from '../../src/store/incoming.js';
import { capture, draftOf, storeBackingOf } from './capture-of-tests.js';
import { begin, path, pin, say, scratch, timeOf } from './work-until-cut.js';

/** Seals, pins and prunes snapshots, some of them of COW disks. */

const store = new DirectoryStore({ name: 'local', path });
const history = await SqliteHistory.open(join(scratch, 'history.db'));
const keeping = { name: 'debian', keep: { last: 2 }, timezone: 'UTC' } as GuestConfig;

async function backingFor(incoming: Incoming, number: number) {
  const source = join(scratch, `backing-${number % 5}.img`);
  await writeFile(source, `backing ${number % 5} `.repeat(5000));
  await utimes(source, 1_700_000_000, 1_700_000_000);
  return await storeBackingOf(store, incoming, source);
}

async function seal(number: number): Promise<string> {
  const { takenAt, directory } = timeOf(number);
  const incoming = await store.begin('debian', `job-${number}`);
  const contents = {
    ubd0: Buffer.alloc(60_000 + number, `disk ${number} `),
    ubd1: Buffer.alloc(5000, `${number}`),
  };
  const disks = await capture(
    incoming,
    contents,
    number % 2 ? await backingFor(incoming, number) : undefined,
  );
  const manifest = await store.seal(incoming, draftOf(incoming, disks, directory, { takenAt }));
  say('sealed', manifest.snapshot);
  await history.recordSnapshot(recordOf('local', manifest));
  return manifest.snapshot;
}

async function prune(number: number): Promise<void> {
  const now = new Date(Date.parse(timeOf(number).takenAt) + 1);
  const { removed } = await retain(keeping, store, history, { now, dryRun: true });
  for (const { snapshot } of removed) say('removing', snapshot);
  await retain(keeping, store, history, { now });
  for (const { snapshot } of removed) say('removed', snapshot);
}

await begin(store);
const pinnedOnes: string[] = [];
for (let number = 0; ; number++) {
  const snapshot = await seal(number);
  if (number % 3 === 0) {
    await pin(store, snapshot, true);
    pinnedOnes.push(snapshot);
  }
  if (pinnedOnes.length > 2) await pin(store, pinnedOnes.shift() ?? '', false);
  await prune(number);
}
