import { describe, expect, test } from 'vitest';
import { gapsAround, parseGaps } from './ticks.js';
import { type PassedAnswer, parseAnswer, pausesOf } from './witness.js';

/** The counter of these tests counts 1,000 a ms. */
const answer = (command: string, atMs: number, err = 0): PassedAnswer => ({
  ...{ command, atMs, err },
  count: 5_000_000 + atMs * 1_000,
});

describe('the witness before the console', () => {
  test('takes each pause from stop answered to go answered, whatever is said between', () => {
    const answers = [
      ...[answer('version', 5), answer('stop', 10), answer('sysrq s', 11), answer('sysrq s', 11.2)],
      ...[answer('go', 14.5), answer('version', 15), answer('stop', 100), answer('go', 103)],
    ];
    expect(pausesOf(answers)).toEqual([
      { pausedMs: 4.5, fromCount: 5_010_000, toCount: 5_014_500 },
      { pausedMs: 3, fromCount: 5_100_000, toCount: 5_103_000 },
    ]);
  });

  test('does not let a refused stop or go begin or end a pause', () => {
    const answers = [answer('go', 1, 1), answer('stop', 10), answer('stop', 12, 1), answer('go', 13, 1)];
    expect(pausesOf(answers)).toEqual([]);
    expect(pausesOf([...answers, answer('go', 20), answer('go', 21)])).toMatchObject([{ pausedMs: 10 }]);
  });

  test('is read to the microsecond, and nothing that it does not say is made up', () => {
    expect(parseAnswer('12000340000 31200000123 0 sysrq s')).toMatchObject({
      ...{ atMs: 12_000.34, count: 31_200_000_123, err: 0, command: 'sysrq s' },
    });
    expect(parseAnswer('1 2 -2 proc vmstat')).toMatchObject({ err: -2 });
    expect(() => parseAnswer('witness: bind: Address already in use')).toThrow(/Address already in use/);
  });
});

describe('the ticker in the guest', () => {
  const gap = (fromMs: number, toMs: number) => ({ endCount: toMs * 1_000, lengthMs: toMs - fromMs });
  const pause = { pausedMs: 3, fromCount: 1_000_000, toCount: 1_003_000 };

  test('its gap at the pause is told from the stutter of a busy guest before and after', () => {
    const gaps = [gap(900, 910), gap(999.5, 1_003.5), gap(1_020, 1_022)];
    expect(gapsAround(gaps, [pause])).toEqual({ atPauseMs: 4, elsewhereMs: 10 });
  });

  test('a gap that only ends in the pause, or only begins in it, is at the pause all the same', () => {
    expect(gapsAround([gap(998, 1_000.1)], [pause]).atPauseMs).toBeCloseTo(2.1);
    expect(gapsAround([gap(1_002.9, 1_005)], [pause]).atPauseMs).toBeCloseTo(2.1);
    expect(gapsAround([gap(990, 999.9), gap(1_003.1, 1_009)], [pause]).atPauseMs).toBe(0);
  });

  test('a ticker that has lost gaps, or complains, fails the run instead of making it look short', () => {
    expect(parseGaps('31200000123 4500000\n')).toMatchObject([{ lengthMs: 4.5 }]);
    expect(parseGaps('')).toEqual([]);
    expect(() => parseGaps('lost 12\n31200000123 4500000')).toThrow(/lost 12/);
  });
});
