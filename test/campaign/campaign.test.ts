import { appendFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { withTempDir } from '../support/temp-dir.js';
import { randomOf } from './campaign.js';
import { isInPause } from './kill-instant.js';
import { parseOptions } from './options.js';
import { progressOf, reportOf } from './report.js';
import { CampaignState, type Entry } from './state.js';

const entry = (first: number, changes: Partial<Entry> = {}): Entry => ({
  ...{ first, count: 1, seed: 7, at: `2026-11-2${first}T10:00:00.000Z`, ms: 900, problems: [], facts: {} },
  ...{ host: '6.18.0', guest: '6.1.176', revision: 'abcdef', ...changes },
});
const whatItIs = { name: 'kill', hazard: 'a | kill', held: 'it runs' };
const campaign = { ...whatItIs, n: 1000, unit: 'kills', isSeeded: true };

describe('the report of a campaign', () => {
  test('has a row for each that was ever run, with what it met, and names every loss with its seed', () => {
    const entries = [
      entry(0, { facts: { 'in a pause': 1 } }),
      entry(1, { problems: ['the guest\nstands'], host: '6.19.0', facts: { 'in a pause': 1, 'of all': 1 } }),
    ];
    const report = reportOf([
      { campaign, entries },
      { campaign: { ...campaign, name: 'never' }, entries: [] },
    ]);
    expect(report).toContain(
      '| kill | a \\| kill (2 in a pause, 1 of all) | 2 of 1,000 kills | **1**, see below | 7 | 2026-11-20 to 2026-11-21 | 6.18.0, 6.19.0 | 6.1.176 |',
    );
    expect(report).toContain('- kill, trial 1 of seed 7, 2026-11-21, abcdef: the guest stands\n');
    expect(report).not.toContain('never |');
  });

  test('keeps the row and the losses of a campaign that was never run here', () => {
    const lost = entry(0, { problems: ['it stands'] });
    const [other, never] = [
      { ...campaign, name: 'other' },
      { ...campaign, name: 'never' },
    ];
    const before = reportOf([campaign, other].map((one) => ({ campaign: one, entries: [lost] })));
    const after = reportOf(
      [campaign, other, never].map((one) => ({ campaign: one, entries: one === campaign ? [entry(1)] : [] })),
      before,
    );
    expect(after).toContain('| kill | a \\| kill | 1 of 1,000 kills | 0 | 7 | 2026-11-21 |');
    expect(after).toContain(before.split('\n').find((line) => line.startsWith('| other')));
    expect(after).toMatch(/## What was lost\n\n- other, trial 0 .*it stands\n$/);
    expect(after).not.toContain('| never');
  });

  test('says of a campaign at full length that has lost nothing just that', () => {
    const report = reportOf([
      { campaign: { ...campaign, isSeeded: false }, entries: [entry(0, { count: 1000 })] },
    ]);
    expect(report).toContain('| 1,000 kills | 0 | – | 2026-11-20 |');
    expect(report).toMatch(/## What was lost\n\nNothing\.\n$/);
  });

  test('on its way tells how fast it goes and how long it takes, by what was done since the start', () => {
    const findings = { campaign, entries: [entry(0, { count: 300 }), entry(1, { count: 100 })] };
    expect(progressOf(findings, { wanted: 1000, here: 100, hereMs: 50_000 })).toBe(
      'kill: 400 of 1,000 kills, 0 lost, 2.0/s, 5 min left',
    );
  });
});

test('the state of a campaign is there again but for half a line of one that was killed, and is not begun anew in silence', async () => {
  await withTempDir(async (dir) => {
    const first = new CampaignState(dir, 'kill');
    for (const number of [0, 1]) first.add(entry(number, { count: 5 }));
    await appendFile(join(dir, 'kill.jsonl'), '{"first":2,"cou');
    const next = new CampaignState(dir, 'kill');
    expect({ done: next.done, seed: next.seed }).toEqual({ done: 10, seed: 7 });
    next.add(entry(2));
    expect(new CampaignState(dir, 'kill').entries).toEqual([...first.entries, entry(2)]);
    next.forget();
    expect(new CampaignState(dir, 'kill')).toMatchObject({ done: 0, seed: undefined });
    await writeFile(join(dir, 'kill.jsonl'), 'not of ours\n');
    expect(() => new CampaignState(dir, 'kill')).toThrow(/JSON/);
  });
});

describe('what a campaign is asked for', () => {
  test('is everything by default, and otherwise what is named, in the order of the list', () => {
    const usual = { list: false, fresh: false, n: null, seed: null, out: 'docs/reliability.md' };
    expect(parseOptions([], ['a', 'b', 'c'])).toEqual({ names: ['a', 'b', 'c'], ...usual });
    expect(parseOptions(['c', 'a', '--n', '50', '--seed', '0'], ['a', 'b', 'c'])).toMatchObject({
      ...{ names: ['a', 'c'], n: 50, seed: 0 },
    });
  });

  test.each([[['d']], [['--n', '0']], [['--seed', 'x']], [['--m', '1']]])(
    'is refused when it is %j',
    (args) => {
      expect(() => parseOptions(args, ['a'])).toThrow();
    },
  );
});

describe('a trial', () => {
  test('draws the same for the same seed and number, and other numbers than its neighbours', () => {
    const draws = (seed: number, trial: number) => Array.from({ length: 5 }, randomOf(seed, trial));
    expect(draws(7, 3)).toEqual(draws(7, 3));
    const all = [draws(7, 3), draws(7, 4), draws(8, 3)].flat();
    expect(new Set(all).size).toBe(15);
    expect(all.every((value) => value >= 0 && value < 1)).toBe(true);
  });

  test.each([
    ['before the stop was answered', 9, false],
    ['in the pause', 11, true],
    ['after the go', 21, false],
  ])('whose kill came %s counts as that', (_, atMs, isIn) => {
    const answer = { what: 'answer' as const, err: 0, passedOn: true };
    const events = [
      { ...answer, command: 'stop', atMs: 10 },
      { ...answer, command: 'go', atMs: 20 },
    ];
    expect(isInPause(events, { fromMs: atMs, toMs: atMs + 0.5 })).toBe(isIn);
  });
});
