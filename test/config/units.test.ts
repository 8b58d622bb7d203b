import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatDuration, parseDuration } from '../../src/config/duration.js';
import { formatRate, formatSize, parseRate, parseSize } from '../../src/config/size.js';

const minute = 60_000;
const hour = 60 * minute;
const day = 24 * hour;

describe.each<[string, (text: string) => number | null, string[], number[], string[]]>([
  [
    'a duration',
    parseDuration,
    ['250ms', '5s', '1.5s', '10m', '1h', '1h30m', '1d', '2w', '0s'],
    [250, 5000, 1500, 10 * minute, hour, 90 * minute, day, 14 * day, 0],
    [
      ...['', '5', '5 s', ' 5s', '5S', '-5s', '1e3s', '5s5s', '5s1m', '0.1ms', '.5s', '5.s'],
      ...['99999999999999w', '5min', '5s\n'],
    ],
  ],
  [
    'a size',
    parseSize,
    ['0B', '512B', '500MB', '1kB', '1KiB', '10GiB', '1.5TiB'],
    [0, 512, 500e6, 1000, 1024, 10 * 2 ** 30, 1.5 * 2 ** 40],
    ['', '10', '10G', '10 GiB', '-1B', '10gib', '1e3B', '99999TiB9', '999999999TB', 'GiB'],
  ],
  [
    'a rate',
    parseRate,
    ['50MiB/s', '500kB/s'],
    [52_428_800, 500_000],
    ['', '/s', '50', '50MiB', '50MiB/m', '50MiBs', '50MiB/s/s'],
  ],
])('%s', (_, parse, good, values, bad) => {
  test('is read', () => expect(good.map(parse)).toEqual(values));
  test.each(bad)('is not what %j says', (text) => expect(parse(text)).toBeNull());
});

describe('is shown', () => {
  test('a duration in at most two units', () => {
    const durations = [0, 0.123, 2.13, 99.96, 250, 999.6, 5300, -1500, 59_960, 90_000, 3_599_600, 5_400_000];
    expect(durations.map(formatDuration)).toEqual(
      '0ms,0.12ms,2.1ms,100ms,250ms,1s,5.3s,-1.5s,1m,1m30s,1h,1h30m'.split(','),
    );
    expect([86_399_999, 273_600_000].map(formatDuration)).toEqual(['1d', '3d4h']);
  });

  test('a duration as what is read back to within a twentieth of its last unit', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 10 ** 11 }), (durationMs) => {
        const readBackMs = parseDuration(formatDuration(durationMs)) ?? Number.NaN;
        expect(Math.abs(readBackMs - durationMs)).toBeLessThanOrEqual(Math.max(0.5, durationMs * 0.025));
      }),
    );
  });

  test('a size or a rate in its largest unit', () => {
    const sizes = [0, 512, 1023.96 * 1024, 1536, 10 * 2 ** 30, 5000 * 2 ** 40];
    expect(sizes.map(formatSize)).toEqual(['0B', '512B', '1MiB', '1.5KiB', '10GiB', '5000TiB']);
    expect(formatRate(52_428_800)).toBe('50MiB/s');
  });
});
