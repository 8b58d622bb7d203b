import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { clearStaging } from '../../src/copies/clear-staging.js';
import { recordedRows, restoreSourceOf } from '../../src/copies/find-snapshot.js';
import { recover } from '../../jobs/recover.js';
import { recoverAtStart } from '../../src/job/recover-at-start.js';
import type { GuestConfig } from '../../src/config/config.js';
import type { VerifyResult } from '../../src/history/records.js';
import { SqliteHistory } from '../../src/history/sqlite-history.js';
import { restoreToDirectory } from '../../src/restore/restore-to-directory.js';
import type { KeepPolicy } from '../../src/retention/keep-policy.js';
import { recordOf } from '../../src/snapshot/describe-snapshot.js';
import { type RetainOptions, retain } from '../../src/snapshot/retain.js';
import type { DirectoryStore } from '../../src/store/directory-store.js';
import { amended, formatManifest, sealManifest } from '../../src/store/manifest.js';
import { verification } from '../history/records-of-tests.js';
import { freshStore, storeAt } from '../store/fresh-store.js';
import { contentIn, sealSparse, soundIn } from '../store/sparse-snapshots.js';
import { ours, pinIn } from '../store/capture-of-tests.js';

const now = new Date('2026-11-21T12:00:00.000Z');
const day = 86_400_000;

const fresh = freshStore();
let store: DirectoryStore;
let history: SqliteHistory;
beforeEach(async () => {
  store = fresh.store;
  history = await SqliteHistory.open(join(fresh.dir, 'history.db'));
  await history.rememberStateId(ours.id);
});
afterEach(() => history.close());

/** The snapshot of this hour of the day. */
const named = (hour: number, of = '20261121') => `debian@${of}T${String(hour).padStart(2, '0')}0000Z`;

async function seal(hour: number, of?: string): Promise<void> {
  const { manifest } = await sealSparse(store, named(hour, of));
  await history.recordSnapshot(recordOf('local', manifest, 'own'));
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
    const reasons = [expect.stringContaining("not known to be good: its manifest can't be read")];
    expect(kept[0]).toEqual({ snapshot: named(3), reasons });
    // Pages and metrics ask the history alone.
    const asked = [{ name: 'debian', isDrilled: false }];
    expect((await history.newestSound(asked, ['local'])).map(({ snapshot }) => snapshot)).toEqual([named(2)]);
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
    const asSaid = { now: leapt, clockIsRight: true };
    expect((await prune({ last: 1 }, { ...asSaid, dryRun: true })).removed).toHaveLength(2);
    expect((await prune({ last: 1 }, asSaid)).warnings).toEqual([]);
    expect(await listed()).toEqual([named(4)]);
    // And from there on it goes without saying.
    expect((await prune({ last: 1 }, { now: leapt })).warnings).toEqual([]);
  });

  test('that was told that the clock is right leaves what lies in the future, and does not ask again', async () => {
    for (const hour of [1, 2]) await seal(hour);
    await seal(0, '21000101');
    expect((await prune({ last: 1 })).warnings).toEqual([expect.stringMatching(/21000101.*in the future/)]);
    expect((await prune({ last: 1 }, { clockIsRight: true })).removed).toHaveLength(1);
    await seal(3);
    const next = await prune({ last: 1 });
    expect(next.warnings).toEqual([]);
    expect(await listed()).toEqual([named(0, '21000101'), named(3)]);
    // Another clock that goes wrong, further still.
    await seal(0, '21010101');
    expect((await prune({ last: 1 })).warnings).toHaveLength(1);
  });
});

test('what waits in staging is not removed because another job’s snapshot of its name, which was adopted, expires in the archive', async () => {
  const archive = storeAt(join(fresh.dir, 'archive'), 'archive');
  await archive.prepare(null);
  const adopted = { owner: ours, job: 'of-the-host-that-is-gone' };
  await sealSparse(archive, named(1), undefined, adopted);
  await sealSparse(store, named(1), undefined, { owner: ours, takenAt: '2026-11-21T01:00:00.500Z' });
  const config = { name: 'debian', keep: { last: 1 }, timezone: 'UTC' } as GuestConfig;
  await clearStaging(config, store, archive, history, now);
  expect(await listed()).toEqual([named(1)]);
  // It came there under another name, and the adopted one was found damaged: that is no matter of this one.
  const { manifest, ...source } = await contentIn(store, named(1));
  await archive.receive({ ...source, manifest: amended(manifest, { snapshot: `${named(1)}-1` }) }, {});
  await verified(1, 'damaged', 'archive');
  await clearStaging(config, store, archive, history, now);
  expect(await listed()).toEqual([]);
});

test('fault 61: a restore that a prune falls into finishes, with all of its disks, and the snapshot goes the next time', async () => {
  for (const hour of [1, 2]) await seal(hour);
  const stored = await soundIn(store, named(1));
  let pruned: Awaited<ReturnType<typeof prune>> | undefined;
  const source = {
    ...(await contentIn(store, named(1))),
    openFile: async (file: string) => {
      pruned = await prune({ last: 1 });
      return await store.openFile(stored, file);
    },
  };
  const { signal } = new AbortController();
  await store.whileReading(stored, () => restoreToDirectory(source, join(fresh.dir, 'restored'), { signal }));
  const reasons = ['expired, and being read now: it goes the next time'];
  const kept = expect.arrayContaining([{ snapshot: named(1), reasons }]);
  expect(pruned).toMatchObject({ removed: [], warnings: [], kept });
  expect((await readFile(join(fresh.dir, 'restored', 'ubd0.img'))).length).toBe(70_001);
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

/** It is durable in the store before the history hears of it: whoever dies between the two leaves just that. */
describe('a pin', () => {
  const snapshot = named(3);
  beforeEach(() => seal(3));

  const source = async () =>
    restoreSourceOf({ store, stored: await store.read(snapshot) }, await recordedRows(history, 'debian'));

  async function recovered() {
    const found = await recoverAtStart(history, []);
    const places = { stateDirectory: join(fresh.dir, 'state'), scratchPlaces: [] };
    await recover({ history, stores: [store], guests: [], ...places }, found);
    return found;
  }

  test('that the history was not told of leaves a snapshot that is restored, and that recover takes over', async () => {
    await pinIn(store, snapshot, true);
    expect((await source()).manifest.pinned).toBe(true);
    expect(await recovered()).toMatchObject({ indexed: [snapshot], problems: [] });
    expect((await history.snapshots({}))[0]?.pinned).toBe(true);
    expect(await recovered()).toMatchObject({ indexed: [], problems: [] });
  });

  test('anything else that was changed in a manifest is not trusted, whatever its own checksum says', async () => {
    const path = join(store.path, 'debian', '20261121T030000Z', 'manifest.json');
    const { checksum: _, ...manifest } = JSON.parse(await readFile(path, 'utf8'));
    const forged = sealManifest({ ...manifest, pinned: true, labels: { why: 'forged' } });
    await writeFile(path, formatManifest(forged));
    await expect(source()).rejects.toMatchObject({ code: 'SnapshotDamaged' });
    expect(await recovered()).toMatchObject({ indexed: [], problems: [expect.stringContaining(snapshot)] });
  });
});
