import { describe, expect, test } from 'vitest';
import { figuresOf } from './figures.js';
import { parseOptions } from './options.js';
import { decadesAround, logScale, plotOf, spreadOut } from './plot.js';
import { emptyDocument, type Findings, putInto, reportOf } from './report.js';
import { runOf, seriesOf } from './series-of-tests.js';

const findings: Findings = {
  takenAt: new Date('2026-11-21T09:00:00Z'),
  ...{ command: 'npm run bench', cache: 'cold', machine: ['2 cores of a machine'], plot: 'pause.svg' },
  places: new Map([['ext4', 'ext4 on /dev/vda']]),
  series: [seriesOf([2_000], { method: 'recipe' }), seriesOf([2])],
  idle: [{ filesystem: 'ext4', sizeMiB: 1024, guestBytesPerSecond: 2 ** 27, longestGapMs: 4.5 }],
  leftOut: [{ what: 'xfs', why: 'mounting a loop filesystem needs root' }],
};

describe('the report', () => {
  test('tells the machine, the cache, the figures, and what was left out and why', () => {
    const report = reportOf(findings);
    for (const part of [
      ...['2026-11-21', '2 cores', 'page cache was emptied', '1,000×', '128 MiB/s'],
      'Left out: xfs: mounting a loop filesystem needs root',
    ]) {
      expect(report).toContain(part);
    }
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

describe('the plot', () => {
  const series = [256, 1024, 4096].flatMap((sizeMiB) => [
    seriesOf([sizeMiB * 2], { method: 'recipe', sizeMiB }),
    seriesOf([2, 2.1, 9], { sizeMiB }),
    seriesOf([2.1, 2.1, 3], { sizeMiB, method: 'reflink', filesystem: 'xfs' }),
  ]);

  test.each([
    ['several sizes on two filesystems', series, 9, 2],
    ['a single size', [seriesOf([2])], 1, 1],
  ])(
    'of %s has a panel for each and a point for each size and method, and no number that is none',
    (_, all, points, panels) => {
      const plot = plotOf(figuresOf(all));
      expect(plot.match(/<circle/g)).toHaveLength(points);
      expect(plot.match(/class="title"/g)).toHaveLength(panels);
      expect(plot).not.toMatch(/NaN|Infinity|undefined/);
    },
  );

  test('its axes are logarithmic, and hold every value; labels that would touch are moved apart, the others stay', () => {
    expect([1, 10, 100].map(logScale([1, 100], [200, 0]))).toEqual([200, 100, 0]);
    expect(decadesAround([2, 340])).toEqual([1, 10, 100, 1000]);
    expect(decadesAround([10])).toEqual([10, 100]);
    expect(spreadOut([100, 40, 105, 300], 17)).toEqual([100, 40, 117, 300]);
  });
});

describe('the options', () => {
  const asRoot = (...args: string[]) => parseOptions(args, { isRoot: true });

  test('ask for all that the project claims, unless they say otherwise', () => {
    expect(asRoot()).toEqual({
      ...{ sizesMiB: [256, 1024, 4096], runs: 10, filesystems: ['ext4', 'xfs'], cache: 'cold', out: 'docs' },
      methods: ['recipe', 'copy', 'compared', 'traced', 'reflink'],
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
