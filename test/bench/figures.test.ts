import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { claimsOf } from './claims.js';
import { figuresOf } from './figures.js';
import { formatMiB, formatMs, formatTimes } from './format.js';
import { runOf, seriesOf } from './series-of-tests.js';
import { median, worst } from './statistics.js';
import { pauseTable, priceTable } from './tables.js';

describe('statistics', () => {
  test('the median of an even number of runs lies between the two in the middle', () => {
    expect(median([9, 1, 3, 2])).toBe(2.5);
    expect(median([9, 1, 3])).toBe(3);
  });

  test('half of the runs are not longer than the median, half not shorter, whatever their order', () => {
    fc.assert(
      fc.property(fc.array(fc.double({ min: 0, max: 1e6, noNaN: true }), { minLength: 1 }), (values) => {
        const middle = median(values);
        expect(values.filter((value) => value <= middle).length * 2).toBeGreaterThanOrEqual(values.length);
        expect(values.filter((value) => value >= middle).length * 2).toBeGreaterThanOrEqual(values.length);
        expect(worst(values)).toBeGreaterThanOrEqual(middle);
      }),
    );
  });

  test('no runs have no median, rather than one of 0 ms', () => {
    expect(() => median([])).toThrow(RangeError);
    expect(() => worst([])).toThrow(RangeError);
  });
});

describe('figures', () => {
  const recipe = seriesOf([2_000, 3_000, 2_500], { method: 'recipe' });

  test('a pause is held against the recipe of the same size and filesystem, by medians', () => {
    const others = [
      seriesOf([60_000], { method: 'recipe', sizeMiB: 4096 }),
      seriesOf([100], { method: 'recipe', filesystem: 'xfs' }),
    ];
    const [, , , traced] = figuresOf([...others, recipe, seriesOf([2, 50, 2.5])]);
    expect(traced).toMatchObject({ pause: { median: 2.5, worst: 50 }, timesShorter: 1000 });
  });

  test('what was not measured is no ratio: neither without a recipe, nor of the recipe itself', () => {
    expect(figuresOf([seriesOf([2])])[0]?.timesShorter).toBeNull();
    expect(figuresOf([recipe])[0]?.timesShorter).toBeNull();
  });

  test('a series of failures only has no figures, and failures among figures are counted', () => {
    expect(figuresOf([seriesOf([], { failures: ['no'] })])).toEqual([]);
    const [figures] = figuresOf([seriesOf([1, 2], { failures: ['no'] })]);
    expect(figures).toMatchObject({ runs: 2, failed: 1 });
    expect(pauseTable(figures ? [figures] : [])).toContain('(1 of 3 runs failed)');
  });

  test('the most memory of all runs counts, and none at all for the recipe', () => {
    const lean = runOf(2);
    const fat = runOf(2, { memory: { ownBytes: 160 * 2 ** 20, togetherBytes: 300 * 2 ** 20 } });
    const [figures] = figuresOf([seriesOf([], { runs: [lean, fat, lean] })]);
    expect(figures).toMatchObject({ ownBytes: 160 * 2 ** 20, togetherBytes: 300 * 2 ** 20 });
    const [bare] = figuresOf([{ ...recipe, runs: [runOf(2_000, { memory: null })] }]);
    expect(bare).toMatchObject({ ownBytes: null, togetherBytes: null });
  });

  test('the tables have a row for each series, the small images first, and as many cells in each', () => {
    const figures = figuresOf([seriesOf([2.14], { sizeMiB: 4096 }), recipe, seriesOf([2])]);
    for (const table of [pauseTable(figures), priceTable(figures)]) {
      const rows = table.split('\n').map((row) => row.split('|').slice(1, -1));
      expect(rows).toHaveLength(2 + 3);
      expect(new Set(rows.map(({ length }) => length)).size).toBe(1);
      expect(rows.slice(2).map((row) => row[0]?.trim())).toEqual(['1 GiB', '1 GiB', '4 GiB']);
    }
    expect(pauseTable(figures)).toContain(
      '| 4 GiB | `precopy`, traced | 2.1 ms | 2.1 ms | 3.1 ms | 3.1 ms |  |',
    );
    expect(pauseTable(figures)).toContain('1,250×');
  });
});

describe('claims', () => {
  const recipe = seriesOf([2_500], { method: 'recipe' });
  const verdicts = (...all: Parameters<typeof figuresOf>) =>
    claimsOf(figuresOf(...all)).map(({ holds }) => holds);

  test('each of them holds with good figures', () => {
    const sizes = [seriesOf([2], { sizeMiB: 256 }), seriesOf([3], { sizeMiB: 4096 })];
    expect(verdicts([recipe, seriesOf([2, 2, 49]), ...sizes])).toEqual([true, true, true, true]);
  });

  test('one bad run, a slow median, growth with the size or too much memory break them', () => {
    expect(verdicts([seriesOf([2, 2, 51])])).toEqual([false, true]);
    expect(verdicts([seriesOf([5.1, 5.1, 6])])).toEqual([false, true]);
    expect(verdicts([recipe, seriesOf([5])])).toEqual([true, true, true]);
    expect(verdicts([{ ...recipe, runs: [runOf(2_400)] }, seriesOf([5])])).toEqual([true, false, true]);
    const growing = [seriesOf([2], { sizeMiB: 256 }), seriesOf([4.5], { sizeMiB: 4096 })];
    expect(verdicts(growing)).toEqual([false, true]);
    const memory = { ownBytes: 151 * 2 ** 20, togetherBytes: 151 * 2 ** 20 };
    expect(verdicts([seriesOf([], { method: 'copy', runs: [runOf(2, { memory })] })])).toEqual([false]);
  });

  test('nothing is claimed of what was not measured', () => {
    expect(claimsOf(figuresOf([{ ...recipe, runs: [runOf(2_000, { memory: null })] }]))).toEqual([]);
  });
});

test('figures are told in units that people read', () => {
  expect([0.084, 0.997, 2.14, 99.6, 214, 999.6, 6_030, 61_200].map(formatMs)).toEqual(
    '0.08 ms,1.0 ms,2.1 ms,100 ms,214 ms,1.00 s,6.03 s,61.2 s'.split(','),
  );
  expect([256, 1024, 1536, 4096].map(formatMiB)).toEqual(['256 MiB', '1 GiB', '1536 MiB', '4 GiB']);
  expect([0.5, 9.96, 1234.4].map(formatTimes)).toEqual(['0.5×', '10×', '1,234×']);
});
