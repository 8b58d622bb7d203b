import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { VerifyResult } from '../../src/history/records.js';
import { SqliteHistory } from '../../src/history/sqlite-history.js';
import { adviceFor, Findings, type Soundness, soundness } from '../../src/store/soundness.js';
import { inSqlite, snapshot, verification } from '../history/records-of-tests.js';
import { withTempDir } from '../support/temp-dir.js';

/** One notion of what is sound: in TypeScript for whoever has a copy before him, in SQL for whoever looks for the newest. */

const results: (VerifyResult | undefined)[] = [undefined, 'ok', 'damaged', 'badFilesystem', 'notRead'];
const drills = [undefined, true, false];
const cases = results.flatMap((result) =>
  drills.flatMap((passed) => [true, false].map((isDrilled) => ({ result, passed, isDrilled }))),
);
const at = '2026-11-22T04:31:00.000Z';
const drillOf = (of: string, passed: boolean) => ({
  ...{ snapshot: of, store: 'local', guest: of.slice(0, of.indexOf('@')), job: 'd', drilledAt: at },
  ...{ passed, problem: passed ? null : 'its init ended' },
});

const badFilesystem = (guest: string) => ({
  guest,
  job: 'newer',
  store: 'local',
  foundAt: at,
  problem: null,
});

test('a copy is sound as long as nothing speaks against it, and a failed drill speaks only where drills are wanted', () => {
  const typeOf = (result: VerifyResult | undefined, passed: boolean | undefined, isDrilled = true) =>
    soundness(
      {},
      {
        verification: result && verification('a@1', { result }),
        filesystem: result === 'badFilesystem' ? badFilesystem('a') : undefined,
        drill: passed === undefined ? undefined : drillOf('a@1', passed),
      },
      isDrilled,
    ).type;
  expect(results.map((result) => typeOf(result, undefined))).toEqual([
    'sound',
    'sound',
    'damaged',
    'badFilesystem',
    'sound',
  ] satisfies Soundness['type'][]);
  expect([typeOf('ok', false), typeOf('ok', false, false), typeOf('ok', true)]).toEqual([
    'failedDrill',
    'sound',
    'sound',
  ] satisfies Soundness['type'][]);
  const good = { verification: verification('a@1'), filesystem: undefined, drill: drillOf('a@1', true) };
  expect(soundness({ damaged: 'ubd0.img is missing' }, good, true)).toEqual({
    ...{ type: 'damaged', since: null, why: 'ubd0.img is missing' },
  });
});

test('the history says the same of every copy, and a newer one that is bad hides none before it, with indexes for each step', async () => {
  await withTempDir(async (dir) => {
    const file = join(dir, 'history.db');
    const history = await SqliteHistory.open(file);
    try {
      const guests: { name: string; isDrilled: boolean; isSound: boolean }[] = [];
      for (const [index, { result, passed, isDrilled }] of cases.entries()) {
        const [name, of] = [`g${index}`, `g${index}@20261122T000000Z`];
        await history.recordSnapshot(snapshot(`${name}@20261121T000000Z`, { guest: name, job: 'older' }));
        await history.recordSnapshot(snapshot(of, { guest: name, takenAt: at, job: 'newer' }));
        const bad = verification(of, result && { result });
        if (result !== undefined) await history.recordVerification(bad, { guest: name, job: 'newer' });
        if (passed !== undefined) await history.recordDrill(drillOf(of, passed));
        const drill = passed === undefined ? undefined : drillOf(of, passed);
        const filesystem = result === 'badFilesystem' ? badFilesystem(name) : undefined;
        const judged = soundness({}, { verification: result && bad, filesystem, drill }, isDrilled);
        guests.push({ name, isDrilled, isSound: judged.type === 'sound' });
      }
      const newest = new Map(
        (await history.newestSound(guests, ['local'])).map((one) => [one.guest, one.snapshot]),
      );
      const findings = new Findings(await history.badFindings({}));
      for (const { name, isDrilled, isSound } of guests) {
        const time = isSound ? '20261122T000000Z' : '20261121T000000Z';
        expect([name, newest.get(name)]).toEqual([name, `${name}@${time}`]);
        const copy = { snapshot: `${name}@20261122T000000Z`, job: 'newer' };
        const { type } = findings.soundnessOf('local', copy, isDrilled);
        expect([name, type === 'sound']).toEqual([name, isSound]);
        const own = new Findings(await history.badFindings({ guest: name })).unsound(
          () => isDrilled,
          ['local'],
        );
        expect(own.map((one) => one.snapshot)).toEqual(isSound ? [] : [`${name}@20261122T000000Z`]);
      }
      const removed = ['g12', 'g18'];
      for (const name of removed) {
        const removal = { removedAt: at, reason: 'by hand' };
        await history.forgetSnapshot('local', `${name}@20261122T000000Z`, removal);
        const { verifications, copies } = await history.badFindings({ guest: name });
        expect([name, verifications, copies]).toEqual([name, [], []]);
      }
    } finally {
      history.close();
    }
    // As `selectBadFindings` and `isSoundRow` ask: nothing may have to walk all that was ever verified, or taken.
    const plan = inSqlite(file, (database) =>
      ["* from verifications where result = 'damaged'", "* from snapshots where job = 'x' and guest = 'y'"]
        .flatMap((query) => database.prepare(`explain query plan select ${query}`).all())
        .map((row) => JSON.stringify(row)),
    );
    expect(plan.join()).toMatch(/verifications_by_result.*snapshots_by_job/);
  });
});

test('a bad filesystem is in every copy of what its job captured, later ones and renamed ones too, until a look finds it well', async () => {
  await withTempDir(async (dir) => {
    const history = await SqliteHistory.open(join(dir, 'history.db'));
    try {
      const copy = async (store: string, job: string | null = 'j', more = {}) => {
        const { snapshot: name = 'a@2' } = more as { snapshot?: string };
        await history.recordSnapshot(snapshot(name, { ...more, guest: 'a', store, job, takenAt: at }));
      };
      const found = (store: string, result: VerifyResult, more = {}) =>
        history.recordVerification(verification('a@2', { store, result, problem: 'ubd0: x', ...more }), {
          ...{ guest: 'a', job: 'j' },
        });
      const asked = [{ name: 'a', isDrilled: true }];
      /** By both rules: what speaks against it, and whether it is the newest that is sound. */
      const judged = async (store: string, of = 'a@2', job: string | null = 'j') => {
        const findings = new Findings(await history.badFindings({ guest: 'a', store }));
        const { type } = findings.soundnessOf(store, { snapshot: of, job }, true);
        const newest = await history.newestSound(asked, [store]);
        const isSound = newest.some((one) => one.snapshot === of && one.store === store);
        const isTold = findings
          .unsound(() => true, [store])
          .some((one) => one.snapshot === of && one.store === store);
        expect([store, isSound, isTold]).toEqual([store, type === 'sound', type !== 'sound']);
        return type;
      };
      await copy('staging');
      await copy('away');
      await found('staging', 'badFilesystem');
      expect([await judged('staging'), await judged('away')]).toEqual(['badFilesystem', 'badFilesystem']);
      // Carried on, under another name in one store; and the copy that was verified is cleared.
      await copy('archive');
      await history.forgetFindings('archive', 'a@2');
      await copy('renamed', 'j', { snapshot: 'a@2-1' });
      await history.forgetSnapshot('staging', 'a@2', { removedAt: at, reason: 'it was carried' });
      expect([await judged('archive'), await judged('renamed', 'a@2-1')]).toEqual(
        Array(2).fill('badFilesystem'),
      );
      // Another job's, under the same name; another guest's of the same job.
      await copy('others', 'another');
      expect(await judged('others', 'a@2', 'another')).toBe('sound');
      const ofGuest = new Findings(await history.badFindings({}));
      expect(ofGuest.soundnessOf('archive', { snapshot: 'b@2', job: 'j' }, true)).toEqual({ type: 'sound' });
      // Damage, and a look at the bytes alone, say nothing of it.
      await found('archive', 'damaged');
      expect([await judged('archive'), await judged('away')]).toEqual(['damaged', 'badFilesystem']);
      await history.forgetFindings('archive', 'a@2');
      await found('away', 'ok', { filesystems: [] });
      await found('away', 'notRead', { filesystems: [] });
      expect([await judged('archive'), await judged('away')]).toEqual(['badFilesystem', 'badFilesystem']);
      await found('away', 'ok');
      for (const store of ['archive', 'away']) expect(await judged(store)).toBe('sound');
    } finally {
      history.close();
    }
  });
});

test('what is to be done depends on whether there is a sound copy', () => {
  const [sound, damaged] = [{ type: 'sound' } as const, { type: 'damaged', since: null, why: 'x' } as const];
  const bad = { type: 'badFilesystem', since: at, foundIn: 's0', why: 'x' } as const;
  const advice = (...of: Soundness[]) =>
    adviceFor(
      'a@1',
      of.map((one, index) => ({ store: `s${index}`, soundness: one })),
    );
  expect(advice(sound, sound)).toBe(null);
  expect(advice(damaged, sound)).toContain('verify a@1 --heal');
  expect(advice(damaged, damaged)).toContain('take a new snapshot');
  expect(advice(bad, bad)).toContain('show a@1 --store s0');
  expect(advice({ ...bad, foundIn: 'gone' })).not.toContain('show');
});
