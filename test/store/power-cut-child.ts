import { open, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { GuestConfig } from '../../src/config/config.js';
import { SqliteHistory } from '../../src/history/sqlite-history.js';
import { recordOf } from '../../src/snapshot/describe-snapshot.js';
import { retain } from '../../src/snapshot/retain.js';
import { DirectoryStore } from '../../src/store/directory-store.js';
import type { Incoming } from '../../src/store/incoming.js';
import { capture, draftOf } from './capture-of-tests.js';
import { leaveOutDirectories } from './careless-sync.js';

/**
 * A process that seals, pins and prunes snapshots, some of them of COW disks, in the store of its first argument until it is
 * killed; what else it needs lies in its second. Tells each thing before it begins (`removing NAME`) and once it is
 * acknowledged (`sealed`, `pinned`, `removed`). `careless` leaves out every fsync of a directory.
 */

const [path = '', scratch = '', manner = ''] = process.argv.slice(2);
const store = new DirectoryStore({ name: 'local', path });
const history = await SqliteHistory.open(join(scratch, 'history.db'));
const keeping = { name: 'debian', keep: { last: 2 }, timezone: 'UTC' } as GuestConfig;

const say = (...words: string[]) => process.stdout.write(`${words.join(' ')}\n`);

async function backingFor(incoming: Incoming, number: number) {
  const source = join(scratch, `backing-${number % 5}.img`);
  await writeFile(source, `backing ${number % 5} `.repeat(5000));
  await utimes(source, 1_700_000_000, 1_700_000_000);
  const file = await open(source);
  try {
    return await store.storeBacking(incoming, { device: 'ubd0', path: source, fd: file.fd });
  } finally {
    await file.close();
  }
}

async function seal(number: number, takenAt: string): Promise<string> {
  const incoming = await store.begin('debian', `job-${number}`);
  const contents = {
    ubd0: Buffer.alloc(60_000 + number, `disk ${number} `),
    ubd1: Buffer.alloc(5000, `${number}`),
  };
  const backing = number % 2 ? await backingFor(incoming, number) : undefined;
  const captured = await capture(incoming, contents);
  const disks = captured.map((disk) => ({ ...disk, ...(backing && { kind: 'cow' as const, backing }) }));
  const directory = takenAt.replace(/[-:]|\.\d+/g, '');
  const manifest = await store.seal(incoming, draftOf(incoming, disks, directory, { takenAt }));
  say('sealed', manifest.snapshot);
  await history.recordSnapshot(recordOf('local', manifest));
  return manifest.snapshot;
}

async function pin(snapshot: string, pinned: boolean): Promise<void> {
  say('pinning', snapshot);
  await store.setPinned(snapshot, pinned);
  say(pinned ? 'pinned' : 'unpinned', snapshot);
}

async function prune(takenAt: string): Promise<void> {
  const now = new Date(Date.parse(takenAt) + 1);
  const { removed } = await retain(keeping, store, history, { now, dryRun: true });
  for (const { snapshot } of removed) say('removing', snapshot);
  await retain(keeping, store, history, { now });
  for (const { snapshot } of removed) say('removed', snapshot);
}

if (manner === 'careless') await leaveOutDirectories(await open(scratch));
await store.prepare(null);
say('ready');
const pinnedOnes: string[] = [];
for (let number = 0; ; number++) {
  const takenAt = new Date(Date.UTC(2026, 10, 21) + number * 1000).toISOString();
  const snapshot = await seal(number, takenAt);
  if (number % 3 === 0) {
    await pin(snapshot, true);
    pinnedOnes.push(snapshot);
  }
  if (pinnedOnes.length > 2) await pin(pinnedOnes.shift() ?? '', false);
  await prune(takenAt);
}
