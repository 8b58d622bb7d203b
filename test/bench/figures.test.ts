import { describe, expect, test } from 'vitest';
import { claimsOf } from './claims.js';
import { figuresOf, median } from './figures.js';
import { formatMiB, formatMs, formatTimes } from './format.js';
import { runOf, seriesOf } from './series-of-tests.js';
import { pauseTable, priceTable } from './tables.js';

const mib = 2 ** 20;
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
    const fat = runOf(2, { memory: { ownBytes: 160 * mib, togetherBytes: 300 * mib } });
    const bare = runOf(2_000, { memory: null });
    const all = [seriesOf([], { runs: [runOf(2), fat, runOf(2)] }), { ...recipe, runs: [bare] }];
    expect(figuresOf(all)).toMatchObject([
      { ownBytes: 160 * mib, togetherBytes: 300 * mib },
      { ownBytes: null, togetherBytes: null },
    ]);
    expect(claimsOf(figuresOf(all.slice(1)))).toEqual([]);
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

test.each([
  ['good figures', [recipe, seriesOf([2, 2, 49])], [true, true, true]],
  ['one bad run', [seriesOf([2, 2, 51])], [false, true]],
  ['a slow median', [seriesOf([5.1, 5.1, 6])], [false, true]],
  ['a pause just short enough', [recipe, seriesOf([5])], [true, true, true]],
  [
    'a recipe that is not slow enough',
    [{ ...recipe, runs: [runOf(2_400)] }, seriesOf([5])],
    [true, false, true],
  ],
  ['no growth', [seriesOf([2], { sizeMiB: 256 }), seriesOf([3], { sizeMiB: 4096 })], [true, true]],
  [
    'growth with the size',
    [seriesOf([2], { sizeMiB: 256 }), seriesOf([4.5], { sizeMiB: 4096 })],
    [false, true],
  ],
  [
    'too much memory',
    [{ ...recipe, runs: [runOf(2, { memory: { ownBytes: 151 * mib, togetherBytes: 151 * mib } })] }],
    [false],
  ],
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
