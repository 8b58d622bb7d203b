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

test('a copy is sound as long as nothing speaks against it, and a failed drill speaks only where drills are wanted', () => {
  const typeOf = (result: VerifyResult | undefined, passed: boolean | undefined, isDrilled = true) =>
    soundness(
      {},
      {
        verification: result && verification('a@1', { result }),
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
  const good = { verification: verification('a@1'), drill: drillOf('a@1', true) };
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
        await history.recordSnapshot(snapshot(`${name}@20261121T000000Z`, { guest: name }));
        await history.recordSnapshot(snapshot(of, { guest: name, takenAt: at }));
        const bad = verification(of, result && { result });
        if (result !== undefined) await history.recordVerification(bad);
        if (passed !== undefined) await history.recordDrill(drillOf(of, passed));
        const drill = passed === undefined ? undefined : drillOf(of, passed);
        const judged = soundness({}, { verification: result && bad, drill }, isDrilled);
        guests.push({ name, isDrilled, isSound: judged.type === 'sound' });
      }
      const newest = new Map((await history.newestSound(guests)).map((one) => [one.guest, one.snapshot]));
      const findings = new Findings(await history.badFindings({}));
      for (const { name, isDrilled, isSound } of guests) {
        const time = isSound ? '20261122T000000Z' : '20261121T000000Z';
        expect([name, newest.get(name)]).toEqual([name, `${name}@${time}`]);
        const { type } = findings.soundnessOf('local', { snapshot: `${name}@20261122T000000Z` }, isDrilled);
        expect([name, type === 'sound']).toEqual([name, isSound]);
        const own = new Findings(await history.badFindings({ guest: name })).unsound(() => isDrilled);
        expect(own.map((one) => one.snapshot)).toEqual(isSound ? [] : [`${name}@20261122T000000Z`]);
      }
      await history.forgetSnapshot('local', 'g4@20261122T000000Z', { removedAt: at, reason: 'by hand' });
      expect((await history.badFindings({ guest: 'g4' })).verifications).toEqual([]);
    } finally {
      history.close();
    }
    // As `selectBadFindings` asks: nothing may have to walk all that was ever verified.
    const plan = inSqlite(file, (database) =>
      database
        .prepare(
          "explain query plan select * from verifications where result in ('damaged', 'badFilesystem')",
        )
        .all(),
    );
    expect(JSON.stringify(plan)).toContain('verifications_by_result');
  });
});

test('what is to be done depends on whether there is a sound copy', () => {
  const [sound, damaged] = [{ type: 'sound' } as const, { type: 'damaged', since: null, why: 'x' } as const];
  const bad = { type: 'badFilesystem', since: at, why: 'x' } as const;
  const advice = (...of: Soundness[]) =>
    adviceFor(
      'a@1',
      of.map((one, index) => ({ store: `s${index}`, soundness: one })),
    );
  expect(advice(sound, sound)).toBe(null);
  expect(advice(damaged, sound)).toContain('verify a@1 --heal');
  expect(advice(damaged, damaged)).toContain('take a new snapshot');
  expect(advice(bad, sound)).toContain('show a@1 --store s0');
});
