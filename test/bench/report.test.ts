import { describe, expect, test } from 'vitest';
import { figuresOf } from './figures.js';
import { decadesAround, logScale, spreadOut } from './log-scale.js';
import { parseOptions } from './options.js';
import { plotOf } from './plot.js';
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
    for (const part of ['2026-11-21', '2 cores', 'page cache was emptied', '1,000×', '128 MiB/s']) {
      expect(report).toContain(part);
    }
    expect(report).toContain('Left out: xfs: mounting a loop filesystem needs root');
  });

  test('says of a promise that is not kept that it is not', () => {
    expect(reportOf({ ...findings, series: [seriesOf([200])] })).toContain('**Does not hold**');
  });

  test('tells of failures and of traced runs that ended in a comparison, how often and why', () => {
    const compared = runOf(200, { remark: 'a stranger\nhas the disk open' });
    const series = [seriesOf([], { runs: [compared, compared, runOf(2)], failures: ['no room'] })];
    const report = reportOf({ ...findings, series });
    expect(report).toContain('2 of 3 runs: a stranger has the disk open');
    expect(report).toContain('1 of 4 runs: no room');
  });

  test('replaces the findings before it, and nothing of the text around them', () => {
    const document = `Before.\n\n${emptyDocument}\nAfter.\n`;
    const [first, second] = [
      putInto(document, 'old figures'),
      putInto(putInto(document, 'old figures'), 'new'),
    ];
    expect(first).toContain('old figures');
    expect(second).not.toContain('old figures');
    expect(second).toBe(putInto(document, 'new'));
    expect(second.startsWith('Before.') && second.endsWith('After.\n')).toBe(true);
    expect(() => putInto('# No markers', 'new')).toThrow(/lacks/);
  });
});

describe('the plot', () => {
  const series = [256, 1024, 4096].flatMap((sizeMiB) => [
    seriesOf([sizeMiB * 2], { method: 'recipe', sizeMiB }),
    seriesOf([2, 2.1, 9], { sizeMiB }),
    seriesOf([2.1, 2.1, 3], { sizeMiB, method: 'reflink', filesystem: 'xfs' }),
  ]);

  test('has a panel for each filesystem and a point for each size and method, and no number that is none', () => {
    const plot = plotOf(figuresOf(series));
    expect(plot.match(/<circle/g)).toHaveLength(9);
    expect(plot.match(/class="title"/g)).toHaveLength(2);
    expect(plot).not.toMatch(/NaN|Infinity|undefined/);
  });

  test('can show a single size', () => {
    expect(plotOf(figuresOf([seriesOf([2])]))).not.toMatch(/NaN|Infinity|undefined/);
  });

  test('its axes are logarithmic, and hold every value', () => {
    const { at } = logScale([1, 100], [200, 0]);
    expect([1, 10, 100].map(at)).toEqual([200, 100, 0]);
    expect(decadesAround([2, 340])).toEqual([1, 10, 100, 1000]);
    expect(decadesAround([10])).toEqual([10, 100]);
  });

  test('labels that would touch are moved apart, the others stay', () => {
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

  test('a misspelt one is refused before anything is booted', () => {
    expect(() => asRoot('--methods', 'recipe,trace')).toThrow(/trace: choose from/);
    expect(() => asRoot('--runs', '0')).toThrow(/--runs 0/);
    expect(() => asRoot('--sizes', '64')).toThrow(/160 or more/);
    expect(() => asRoot('--size', '256')).toThrow();
  });

  test('only root empties the page cache', () => {
    expect(parseOptions([], { isRoot: false }).cache).toBe('warm');
    expect(() => parseOptions(['--cache', 'cold'], { isRoot: false })).toThrow(/only root/);
  });
});
