import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { GuestConfig } from '../../src/config/config.js';
import type { VerifyResult } from '../../src/history/records.js';
import { SqliteHistory } from '../../src/history/sqlite-history.js';
import { restoreToDirectory } from '../../src/restore/restore-to-directory.js';
import type { KeepPolicy } from '../../src/retention/keep-policy.js';
import { recordOf } from '../../src/snapshot/describe-snapshot.js';
import { type RetainOptions, retain } from '../../src/snapshot/retain.js';
import { DirectoryStore } from '../../src/store/directory-store.js';
import { isSound } from '../../src/store/stored-snapshots.js';
import { verification } from '../history/records-of-tests.js';
import { capture, draftOf } from '../store/capture-of-tests.js';
import { makeTempDir, removeTempDir, roomInMemory } from '../support/temp-dir.js';

const now = new Date('2026-11-21T12:00:00.000Z');
const day = 86_400_000;

let dir: string;
let store: DirectoryStore;
let history: SqliteHistory;
beforeEach(async () => {
  dir = await makeTempDir(await roomInMemory());
  store = new DirectoryStore({ name: 'local', path: join(dir, 'store') });
  await store.prepare(null);
  history = await SqliteHistory.open(join(dir, 'history.db'));
});
afterEach(async () => {
  history.close();
  await removeTempDir(dir);
});

/** The snapshot of this hour of the day. */
const named = (hour: number, of = '20261121') => `debian@${of}T${String(hour).padStart(2, '0')}0000Z`;

async function seal(hour: number, of = '2026-11-21'): Promise<void> {
  const takenAt = `${of}T${String(hour).padStart(2, '0')}:00:00.000Z`;
  const directory = named(hour, of.replaceAll('-', '')).split('@')[1];
  const incoming = await store.begin('debian', `job-${of}-${hour}`);
  const manifest = await store.seal(
    incoming,
    draftOf(incoming, await capture(incoming), directory, { takenAt }),
  );
  await history.recordSnapshot(recordOf('local', manifest));
}

async function prune(keep: KeepPolicy, options: Partial<RetainOptions> = {}) {
  const config = { name: 'debian', keep, timezone: 'UTC' } as GuestConfig;
  return await retain(config, store, history, { now, ...options });
}

const listed = async () => (await store.list()).map(({ snapshot }) => snapshot);

async function verified(hour: number, result: VerifyResult, store = 'local'): Promise<void> {
  await history.recordVerification(verification(named(hour), { store, result }));
}

describe('fault 60: the newest snapshot', () => {
  test('that failed its last verification takes no good one’s place, and is kept to be looked at', async () => {
    for (const hour of [1, 2, 3]) await seal(hour);
    await verified(3, 'damaged');
    // Says nothing: its store was away.
    await verified(3, 'notRead');
    // Was found whole again: the last word counts.
    await verified(1, 'damaged');
    await verified(1, 'ok');
    // Another copy of it, in another store.
    await verified(2, 'damaged', 'offsite');
    const { kept, removed } = await prune({ last: 1 });
    expect(kept).toEqual([
      { snapshot: named(3), reasons: [expect.stringMatching(/last verification \(.*\) found it damaged/)] },
      { snapshot: named(2), reasons: ['last: 1 of 1', 'the newest good snapshot'] },
    ]);
    expect(removed.map(({ snapshot }) => snapshot)).toEqual([named(1)]);
  });

  test('whose manifest is cut short or whose disk is gone counts no more than that, and says why', async () => {
    for (const hour of [1, 2, 3]) await seal(hour);
    const manifest = join(store.path, 'debian', '20261121T030000Z', 'manifest.json');
    await writeFile(manifest, (await readFile(manifest, 'utf8')).slice(0, 200));
    const { kept } = await prune({ last: 1 });
    expect(kept[0]).toEqual({
      snapshot: named(3),
      reasons: [expect.stringContaining("not known to be good: its manifest can't be read")],
    });
    expect(await listed()).toEqual([named(3), named(2)]);
  });
});

describe('fault 56: a sweep', () => {
  test('remembers itself, so that the next one knows a clock that was set back or leapt ahead, and a person can say which is right', async () => {
    for (const hour of [1, 2]) await seal(hour);
    await prune({ last: 1 });
    expect(await listed()).toEqual([named(2)]);
    expect(await history.lastSweep('local', 'debian')).toMatchObject({
      ...{ sweptAt: now.toISOString(), newestTakenAt: '2026-11-21T02:00:00.000Z' },
    });
    for (const hour of [3, 4]) await seal(hour);
    for (const skewMs of [-day / 4, day, 74 * 365 * day, -now.getTime()]) {
      // Twice, since a second sweep by a wrong clock is no reason to believe it.
      for (let again = 0; again < 2; again++) {
        const skewed = await prune({ last: 1 }, { now: new Date(now.getTime() + skewMs) });
        expect(skewed.removed).toEqual([]);
        expect(skewed.warnings).toEqual([expect.stringMatching(/--clock-is-right/)]);
      }
    }
    expect(await listed()).toEqual([named(4), named(3), named(2)]);
    const leapt = new Date(now.getTime() + day);
    expect((await prune({ last: 1 }, { now: leapt, clockIsRight: true, dryRun: true })).removed).toHaveLength(
      2,
    );
    expect((await prune({ last: 1 }, { now: leapt, clockIsRight: true })).warnings).toEqual([]);
    expect(await listed()).toEqual([named(4)]);
    // And from there on it goes without saying.
    expect((await prune({ last: 1 }, { now: leapt })).warnings).toEqual([]);
  });

  test('that was told that the clock is right leaves what lies in the future, and does not ask again', async () => {
    for (const hour of [1, 2]) await seal(hour);
    await seal(0, '2100-01-01');
    expect((await prune({ last: 1 })).warnings).toEqual([expect.stringMatching(/21000101.*in the future/)]);
    expect((await prune({ last: 1 }, { clockIsRight: true })).removed).toHaveLength(1);
    await seal(3);
    const next = await prune({ last: 1 });
    expect(next.warnings).toEqual([]);
    expect(await listed()).toEqual([named(0, '21000101'), named(3)]);
    // Another clock that goes wrong, further still.
    await seal(0, '2101-01-01');
    expect((await prune({ last: 1 })).warnings).toHaveLength(1);
  });
});

test('fault 61: a restore that a prune falls into finishes, with all of its disks, and the snapshot goes the next time', async () => {
  for (const hour of [1, 2]) await seal(hour);
  const stored = await store.read(named(1));
  if (!isSound(stored)) throw new Error('it is damaged');
  let pruned: Awaited<ReturnType<typeof prune>> | undefined;
  const source = {
    manifest: stored.manifest,
    openFile: async (file: string) => {
      pruned = await prune({ last: 1 });
      return await store.openFile(stored, file);
    },
    openBacking: (file: string) => store.openBacking(stored, file),
  };
  const { signal } = new AbortController();
  await store.whileReading(stored, () => restoreToDirectory(source, join(dir, 'restored'), { signal }));
  expect(pruned).toMatchObject({ removed: [], warnings: [] });
  expect(pruned?.kept).toContainEqual({
    snapshot: named(1),
    reasons: ['expired, and being read now: it goes the next time'],
  });
  expect((await readFile(join(dir, 'restored', 'ubd0.img'))).length).toBe(70_001);
  expect((await prune({ last: 1 })).removed.map(({ snapshot }) => snapshot)).toEqual([named(1)]);
});

test('fault 62: a snapshot with something of somebody else’s in it stays, with a warning that names it, and the others go', async () => {
  for (const hour of [1, 2, 3]) await seal(hour);
  const notes = join(store.path, 'debian', '20261121T010000Z', 'notes.txt');
  await writeFile(notes, 'why we keep it');
  const { removed, warnings } = await prune({ last: 1 });
  expect(removed.map(({ snapshot }) => snapshot)).toEqual([named(2)]);
  expect(warnings).toEqual([expect.stringContaining(notes)]);
  expect(await listed()).toEqual([named(3), named(1)]);
  expect((await history.snapshots({})).map(({ snapshot }) => snapshot)).toEqual([named(3), named(1)]);
});
