import { describe, expect, test } from 'vitest';
import { claimsOf } from './claims.js';
import { figuresOf, median } from './figures.js';
import { formatMiB, formatMs, formatTimes } from './format.js';
import type { Run, Series } from './measurement.js';
import { parseOptions } from './options.js';
import { emptyDocument, type Findings, putInto, reportOf } from './report.js';
import { pauseTable, priceTable } from './tables.js';

const mib = 2 ** 20;

function runOf(pausedMs: number, more: Partial<Run> = {}): Run {
  return {
    ...{ pausedMs, tickerMs: pausedMs + 1, otherGapMs: 4, jobMs: 5_000, guestBytesPerSecond: 100 * mib },
    ...{ memory: { ownBytes: 100 * mib, togetherBytes: 200 * mib }, remark: null, inside: null },
    ...more,
  };
}

/** A series on ext4 of 1 GiB, traced, if nothing else is said. */
function seriesOf(pausesMs: number[], more: Partial<Series> = {}): Series {
  const runs = pausesMs.map((pausedMs) => runOf(pausedMs));
  return { filesystem: 'ext4', sizeMiB: 1024, method: 'traced', runs, failures: [], ...more };
}

const recipe = seriesOf([2_000, 3_000, 2_500], { method: 'recipe' });

test('the median is that of the values in order, between the two in the middle of an even number; none have none', () => {
  expect(median([9, 1, 3, 2])).toBe(2.5);
  expect(median([9, 1, 30])).toBe(9);
  expect(() => median([])).toThrow(RangeError);
});

describe('figures', () => {
  test('a pause is held against the recipe of the same size and filesystem, by medians', () => {
    const others = [
      seriesOf([60_000], { method: 'recipe', sizeMiB: 4096 }),
      seriesOf([100], { method: 'recipe', filesystem: 'xfs' }),
    ];
    const [, , itself, traced] = figuresOf([...others, recipe, seriesOf([2, 50, 2.5])]);
    expect(traced).toMatchObject({ pause: { median: 2.5, worst: 50 }, timesShorter: 1000 });
    expect(itself?.timesShorter).toBeNull();
    expect(figuresOf([seriesOf([2])])[0]?.timesShorter).toBeNull();
  });

  test('a series of failures only has no figures, and failures among figures are counted', () => {
    const figures = figuresOf([seriesOf([], { failures: ['no'] }), seriesOf([1, 2], { failures: ['no'] })]);
    expect(figures).toMatchObject([{ runs: 2, failed: 1 }]);
    expect(pauseTable(figures)).toContain('(1 of 3 runs failed)');
  });

  test('the most memory of all runs counts, and none at all for the recipe', () => {
    const memory = { ownBytes: 160 * mib, togetherBytes: 300 * mib };
    const bare = { ...recipe, runs: [runOf(2_000, { memory: null })] };
    const figures = figuresOf([seriesOf([], { runs: [runOf(2), runOf(2, { memory }), runOf(2)] }), bare]);
    expect(figures).toMatchObject([memory, { ownBytes: null, togetherBytes: null }]);
    expect(claimsOf(figuresOf([bare]))).toEqual([]);
  });

  test('the tables have a row for each series, the small images first, and as many cells in each', () => {
    const figures = figuresOf([seriesOf([2.14], { sizeMiB: 4096 }), recipe, seriesOf([2])]);
    for (const table of [pauseTable(figures), priceTable(figures)]) {
      const rows = table.split('\n').map((row) => row.split('|').slice(1, -1));
      expect(new Set(rows.map(({ length }) => length)).size).toBe(1);
      expect(rows.slice(2).map((row) => row[0]?.trim())).toEqual(['1 GiB', '1 GiB', '4 GiB']);
    }
    expect(pauseTable(figures)).toContain(
      '| 4 GiB | `precopy`, traced | 2.1 ms | 2.1 ms | 3.1 ms | 3.1 ms |  |',
    );
    expect(pauseTable(figures)).toContain('1,250×');
  });
});

const grown = (ms: number) => [seriesOf([2], { sizeMiB: 256 }), seriesOf([ms], { sizeMiB: 4096 })];
const quickRecipe = seriesOf([1_000], { method: 'recipe' });
const fat = runOf(2, { memory: { ownBytes: 151 * mib, togetherBytes: 151 * mib } });

test.each([
  ['good figures', [recipe, seriesOf([1.2, 1.4, 9])], [true, true, true]],
  ['one bad run', [seriesOf([1, 1, 11])], [false, true]],
  ['a slow median', [seriesOf([1.6, 1.6, 3])], [false, true]],
  ['a pause just short enough', [recipe, seriesOf([1.5])], [true, true, true]],
  ['a recipe that is not slow enough', [quickRecipe, seriesOf([1.5])], [true, false, true]],
  ['no growth', grown(3), [true, true]],
  ['growth with the size', grown(4.5), [false, true]],
  ['too much memory', [{ ...recipe, runs: [fat] }], [false]],
])('claims of %s', (_, series, verdicts) => {
  expect(claimsOf(figuresOf(series)).map(({ holds }) => holds)).toEqual(verdicts);
});

test('figures are told in units that people read', () => {
  expect([0.084, 0.997, 2.14, 99.6, 214, 999.6, 6_030, 61_200].map(formatMs)).toEqual(
    '0.08 ms,1.0 ms,2.1 ms,100 ms,214 ms,1.00 s,6.03 s,61.2 s'.split(','),
  );
  expect([256, 1024, 1536, 4096].map(formatMiB)).toEqual(['256 MiB', '1 GiB', '1536 MiB', '4 GiB']);
  expect([0.5, 9.96, 1234.4].map(formatTimes)).toEqual(['0.5×', '10×', '1,234×']);
});

const findings: Findings = {
  takenAt: new Date('2026-11-21T09:00:00Z'),
  ...{ command: 'npm run bench', cache: 'cold', machine: ['2 cores of a machine'] },
  places: new Map([['ext4', 'ext4 on /dev/vda']]),
  series: [recipe, seriesOf([2])],
  idle: [{ filesystem: 'ext4', sizeMiB: 1024, guestBytesPerSecond: 2 ** 27, longestGapMs: 4.5 }],
  leftOut: [{ what: 'xfs', why: 'mounting a loop filesystem needs root' }],
};

describe('the report', () => {
  test('tells the machine, the cache, the figures, and what was left out and why', () => {
    const parts = ['2026-11-21', '2 cores', 'page cache was emptied', '1,250×', '128 MiB/s'];
    for (const part of [...parts, 'Left out: xfs: mounting a loop filesystem needs root'])
      expect(reportOf(findings)).toContain(part);
  });

  test('tells of promises that are not kept, failures, and traced runs that ended in a comparison: how often and why', () => {
    const compared = runOf(200, { remark: 'a stranger\nhas the disk open' });
    const series = [seriesOf([], { runs: [compared, compared, runOf(2)], failures: ['no room'] })];
    const report = reportOf({ ...findings, series });
    expect(report).toContain('**Does not hold**: 1 GiB on ext4');
    expect(report).toContain('2 of 3 runs: a stranger has the disk open');
    expect(report).toContain('1 of 4 runs: no room');
  });

  test('replaces the findings before it, and nothing of the text around them', () => {
    const document = `Before.\n\n${emptyDocument}\nAfter.\n`;
    const first = putInto(document, 'old figures');
    expect(first).toContain('old figures');
    const second = putInto(first, 'new');
    expect(second).toBe(putInto(document, 'new'));
    expect(second).toMatch(/^Before\.\n.*\nnew\n.*\nAfter\.\n$/s);
    expect(() => putInto('# No markers', 'new')).toThrow(/lacks/);
  });
});

describe('the options', () => {
  const asRoot = (...args: string[]) => parseOptions(args, { isRoot: true });

  test('ask for all that the project claims, unless they say otherwise', () => {
    expect(asRoot()).toEqual({
      ...{ sizesMiB: [256, 1024, 4096], runs: 10, filesystems: ['ext4', 'xfs'], cache: 'cold', out: 'docs' },
      methods: ['recipe', 'copy', 'compared', 'traced', 'tracedBusy', 'reflink', 'reflinkBusy'],
    });
    const few = asRoot('--sizes', '1024,256', '--runs', '3', '--methods', 'traced,recipe');
    expect(few).toMatchObject({ sizesMiB: [256, 1024], runs: 3, methods: ['recipe', 'traced'] });
  });

  test('are refused before anything is booted when one is misspelt; only root empties the page cache', () => {
    expect(() => asRoot('--methods', 'recipe,trace')).toThrow(/trace: choose from/);
    expect(() => asRoot('--runs', '0')).toThrow(/--runs 0/);
    expect(() => asRoot('--sizes', '64')).toThrow(/160 or more/);
    expect(() => asRoot('--size', '256')).toThrow();
    expect(parseOptions([], { isRoot: false }).cache).toBe('warm');
    expect(() => parseOptions(['--cache', 'cold'], { isRoot: false })).toThrow(/only root/);
  });
});
