import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { GuestConfig } from '../../src/config/config.js';
import { clearStaging } from '../../src/copies/clear-staging.js';
import { carriableFrom, freeName, missingIn } from '../../src/copies/missing-snapshots.js';
import { SqliteHistory } from '../../src/history/sqlite-history.js';
import { applyKeepPolicy } from '../../src/retention/apply-keep-policy.js';
import type { KeepPolicy } from '../../src/retention/keep-policy.js';
import { recordOf } from '../../src/snapshot/describe-snapshot.js';
import type { OwnershipHistory } from '../../src/snapshot/ownership.js';
import { DirectoryStore } from '../../src/store/directory-store.js';
import { Findings, noFindings } from '../../src/store/soundness.js';
import type { DamagedSnapshot, SoundSnapshot, StoredSnapshot } from '../../src/store/stored-snapshots.js';
import { verification } from '../history/records-of-tests.js';
import { ours, storeSnapshot, theirs } from '../store/capture-of-tests.js';
import { storeAt } from '../store/fresh-store.js';
import { sealSparse } from '../store/sparse-snapshots.js';
import { withTempDir } from '../support/temp-dir.js';

const now = new Date('2026-11-28T12:00:00.000Z');
const store = new DirectoryStore({ name: 'local', path: '/nowhere' });

const candidate = (stored: StoredSnapshot) => {
  const { snapshot } = stored;
  const takenAt = snapshot.replace(/.*@(....)(..)(..)T(..).*/, '$1-$2-$3T$4:00:00.000Z');
  if ('damaged' in stored)
    return { stored, snapshot, takenAt, pinned: false, good: false, problem: stored.damaged };
  return { stored, snapshot, takenAt: stored.manifest.takenAt, pinned: stored.manifest.pinned, good: true };
};

/** Taken at noon of this day of November. */
function taken(day: number, pinned = false): SoundSnapshot {
  const snapshot = `debian@202611${day}T120000Z`;
  const manifest = {
    snapshot,
    guest: 'debian',
    job: `job-${day}`,
    takenAt: `2026-11-${day}T12:00:00.000Z`,
    pinned,
  };
  const found = { snapshot, guest: 'debian', directory: '', manifestSha256: '' };
  return { ...found, manifest: manifest as SoundSnapshot['manifest'] };
}

const daysMissing = (have: (SoundSnapshot | DamagedSnapshot)[], there: SoundSnapshot[], keep: KeepPolicy) =>
  missingIn(
    have,
    there.map((stored) => ({ store, stored })),
    (snapshots) => applyKeepPolicy(snapshots.map(candidate), keep, { now, timezone: 'UTC', previous: null }),
  ).map(({ stored }) => Number(stored.manifest.takenAt.slice(8, 10)));

/** A history that has this id, and has forgotten all else. */
const knowingOnly = (id: string): OwnershipHistory => ({
  stateId: async () => id,
  knownJobs: async () => new Set(),
  snapshots: async () => [],
});

test('what a store has missed comes oldest first, whatever the order in which it was found', () => {
  expect(daysMissing([taken(22)], [taken(24), taken(21), taken(22), taken(23)], {})).toEqual([21, 23, 24]);
});

test('what the keep rules would remove there at once is not carried there to be removed', () => {
  const there = [taken(20), taken(21), taken(22), taken(23)];
  expect(daysMissing([], there, { last: 2 })).toEqual([22, 23]);
  // A newer one that only the other store has counts as well.
  expect(daysMissing([taken(24)], there, { last: 2 })).toEqual([23]);
  expect(daysMissing([], [taken(20, true), ...there.slice(1)], { last: 1 })).toEqual([20, 23]);
});

test('a damaged snapshot there is not replaced behind the back of people', () => {
  const damaged: DamagedSnapshot = {
    ...{ snapshot: taken(22).snapshot, guest: 'debian', directory: '', damaged: 'its manifest is gone' },
  };
  expect(daysMissing([damaged], [taken(22), taken(23)], {})).toEqual([23]);
});

test('of two places that have a snapshot the first one gives it, and damaged ones are given by none', async () => {
  await withTempDir(async (dir) => {
    const staging = new DirectoryStore({ name: 'staging', path: `${dir}/staging` });
    const archive = new DirectoryStore({ name: 'archive', path: `${dir}/archive` });
    for (const one of [staging, archive]) {
      await one.prepare(null);
      await storeSnapshot(one, 'debian', '20261121T031500Z');
    }
    await storeSnapshot(archive, 'debian', '20261120T031500Z');
    await storeSnapshot(archive, 'debian', '20261119T031500Z');
    await rm(`${archive.path}/debian/20261119T031500Z/ubd0.img`);
    // A verification has found more than the store can tell.
    await storeSnapshot(archive, 'debian', '20261118T031500Z');
    const damaged = verification('debian@20261118T031500Z', { store: 'archive', result: 'damaged' });
    const findings = new Findings({ ...noFindings, verifications: [damaged] });
    const known = { findings, history: knowingOnly(ours.id) };
    const found = await carriableFrom([staging, archive], 'debian', known);
    expect(found.map((one) => `${one.store.name} ${one.stored.snapshot}`).sort()).toEqual([
      'archive debian@20261120T031500Z',
      'staging debian@20261121T031500Z',
    ]);
  });
});

test('a bad filesystem is the same in the archive, and keeps nothing waiting; damage in the archive does', async () => {
  await withTempDir(async (dir) => {
    const history = await SqliteHistory.open(`${dir}/history.db`);
    try {
      await history.rememberStateId(ours.id);
      const [staging, archive] = ['archive/staging', 'archive'].map((name) =>
        storeAt(join(dir, name.replace('/', '-')), name),
      );
      if (!staging || !archive) throw new Error();
      const names = ['20261121T031500Z', '20261122T031500Z'].map((time) => `debian@${time}`);
      for (const one of [staging, archive]) {
        await one.prepare(null);
        for (const name of names)
          await history.recordSnapshot(recordOf(one.name, (await sealSparse(one, name)).manifest, 'own'));
      }
      const [bad = '', damaged = ''] = names;
      const found = { store: staging.name, result: 'badFilesystem' } as const;
      const by = { guest: 'debian', job: 'job-20261121T031500Z' };
      await history.recordVerification(verification(bad, found), by);
      await history.recordVerification(verification(damaged, { store: archive.name, result: 'damaged' }));
      const config = { name: 'debian', keep: {}, timezone: 'UTC', isDrilled: true } as GuestConfig;
      await clearStaging(config, staging, archive, history, now);
      expect((await staging.list()).map(({ snapshot }) => snapshot)).toEqual([damaged]);
      // The copy that was looked at is gone, and what was found is not.
      const unsound = new Findings(await history.badFindings({})).unsound(() => true, [archive.name]);
      expect(unsound.map((one) => `${one.snapshot} ${one.store} ${one.soundness.type}`)).toEqual([
        `${damaged} archive damaged`,
        `${bad} archive badFilesystem`,
      ]);
    } finally {
      history.close();
    }
  });
});

test('what is another’s in the place that is carried from is left there', async () => {
  await withTempDir(async (dir) => {
    const shared = new DirectoryStore({ name: 'shared', path: `${dir}/shared` });
    await shared.prepare(null);
    await storeSnapshot(shared, 'debian', '20261121T031500Z');
    const findings = new Findings(noFindings);
    const knowing = (id: string) => ({ findings, history: knowingOnly(id) });
    expect(await carriableFrom([shared], 'debian', knowing(theirs.id))).toEqual([]);
    expect(await carriableFrom([shared], 'debian', knowing(ours.id))).toHaveLength(1);
  });
});

test('a snapshot that another’s of its name is there before is missing still, and there under another name is not', () => {
  const renamed = { ...taken(22), snapshot: `${taken(22).snapshot}-1` };
  expect(daysMissing([], [taken(22)], {})).toEqual([22]);
  expect(daysMissing([renamed], [taken(22)], {})).toEqual([]);
});

test('of two jobs that gave one name, of which one was adopted, the one that expires does not take the other with it', () => {
  const adopted = taken(22);
  const later = { job: 'job-of-ours', takenAt: '2026-11-22T12:00:00.500Z' };
  const oursOfThatName = { ...adopted, manifest: { ...adopted.manifest, ...later } };
  expect(daysMissing([adopted], [oursOfThatName], { last: 1 })).toEqual([22]);
  expect(daysMissing([oursOfThatName], [adopted], { last: 1 })).toEqual([]);
});

test('a name that is taken is followed by the next free one, and never by none', () => {
  const name = 'debian-1@20261121T031500Z';
  expect(freeName(name, new Set())).toBe(name);
  expect(freeName(name, new Set([name]))).toBe(`${name}-1`);
  expect(freeName(`${name}-1`, new Set([`${name}-1`, name]))).toBe(`${name}-2`);
  expect(freeName(`${name}-1`, new Set([`${name}-1`]))).toBe(name);
});
