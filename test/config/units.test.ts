import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatDuration, parseDuration } from '../../src/config/duration.js';
import { formatRate, formatSize, parseRate, parseSize } from '../../src/config/size.js';

describe('durations', () => {
  test.each([
    ['250ms', 250],
    ['5s', 5000],
    ['1.5s', 1500],
    ['10m', 600_000],
    ['1h', 3_600_000],
    ['1h30m', 5_400_000],
    ['1d', 86_400_000],
    ['2w', 1_209_600_000],
    ['0s', 0],
  ])('%s is read', (text, expected) => expect(parseDuration(text)).toBe(expected));

  test.each([
    '',
    '5',
    '5 s',
    ' 5s',
    '5S',
    '-5s',
    '1e3s',
    '5s5s',
    '5s1m',
    '0.1ms',
    '.5s',
    '5.s',
    '99999999999999w',
    '5min',
    '5s\n',
  ])('%j is none', (text) => expect(parseDuration(text)).toBeNull());

  test.each([
    [0, '0ms'],
    [0.123, '0.12ms'],
    [2.13, '2.1ms'],
    [99.96, '100ms'],
    [250, '250ms'],
    [999.6, '1s'],
    [5300, '5.3s'],
    [59_960, '1m'],
    [90_000, '1m30s'],
    [3_599_600, '1h'],
    [5_400_000, '1h30m'],
    [86_399_999, '1d'],
    [273_600_000, '3d4h'],
    [-1500, '-1.5s'],
  ])('%d ms is shown as %s', (durationMs, expected) => expect(formatDuration(durationMs)).toBe(expected));

  test('what is shown is read back to within a twentieth of its last unit', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 10 ** 11 }), (durationMs) => {
        const readBackMs = parseDuration(formatDuration(durationMs)) ?? Number.NaN;
        expect(Math.abs(readBackMs - durationMs)).toBeLessThanOrEqual(Math.max(0.5, durationMs * 0.025));
      }),
    );
  });
});

describe('sizes', () => {
  test.each([
    ['0B', 0],
    ['512B', 512],
    ['500MB', 500e6],
    ['1kB', 1000],
    ['1KiB', 1024],
    ['10GiB', 10 * 2 ** 30],
    ['1.5TiB', 1.5 * 2 ** 40],
  ])('%s is read', (text, expected) => expect(parseSize(text)).toBe(expected));

  test.each(['', '10', '10G', '10 GiB', '-1B', '10gib', '1e3B', '99999TiB9', '999999999TB', 'GiB'])(
    '%j is none',
    (text) => expect(parseSize(text)).toBeNull(),
  );

  test.each([
    [0, '0B'],
    [512, '512B'],
    [1023.96 * 1024, '1MiB'],
    [1536, '1.5KiB'],
    [10 * 2 ** 30, '10GiB'],
    [5000 * 2 ** 40, '5000TiB'],
  ])('%d bytes are shown as %s', (sizeBytes, expected) => expect(formatSize(sizeBytes)).toBe(expected));
});

describe('rates', () => {
  test.each([
    ['50MiB/s', 52_428_800],
    ['500kB/s', 500_000],
  ])('%s is read', (text, expected) => expect(parseRate(text)).toBe(expected));

  test.each(['', '/s', '50', '50MiB', '50MiB/m', '50MiBs', '50MiB/s/s'])('%j is none', (text) =>
    expect(parseRate(text)).toBeNull(),
  );

  test('are shown as they are written', () => expect(formatRate(52_428_800)).toBe('50MiB/s'));
});
