import { describe, expect, test } from 'vitest';
import { gapsAround, parseGaps } from './ticks.js';
import { type PassedAnswer, parseAnswer, pausesOf } from './witness.js';

/** The counter of these tests counts 1,000 a ms. */
const answer = (command: string, atMs: number, err = 0): PassedAnswer => ({
  ...{ command, atMs, err },
  count: 5_000_000 + atMs * 1_000,
});

describe('the witness before the console', () => {
  test('takes each pause from stop answered to go answered, whatever is said between, and not from or to a refused one', () => {
    const answers = [
      ...[answer('version', 5), answer('go', 9, 1), answer('stop', 10), answer('sysrq s', 11)],
      ...[answer('stop', 12, 1), answer('go', 13, 1), answer('go', 14.5), answer('go', 15)],
      ...[answer('stop', 100), answer('go', 103)],
    ];
    expect(pausesOf(answers)).toEqual([
      { pausedMs: 4.5, fromCount: 5_010_000, toCount: 5_014_500 },
      { pausedMs: 3, fromCount: 5_100_000, toCount: 5_103_000 },
    ]);
    expect(pausesOf(answers.slice(0, 6))).toEqual([]);
  });

  test('is read to the microsecond, and nothing that it does not say is made up', () => {
    expect(parseAnswer('12000340000 31200000123 0 sysrq s')).toEqual({
      ...{ atMs: 12_000.34, count: 31_200_000_123, err: 0, command: 'sysrq s' },
    });
    expect(parseAnswer('1 2 -2 proc vmstat')).toMatchObject({ err: -2 });
    expect(() => parseAnswer('witness: bind: Address already in use')).toThrow(/Address already in use/);
  });
});

describe('the ticker in the guest', () => {
  const gap = (fromMs: number, toMs: number) => ({ endCount: toMs * 1_000, lengthMs: toMs - fromMs });
  const pause = { pausedMs: 3, fromCount: 1_000_000, toCount: 1_003_000 };

  test.each([
    ['is told from the stutter of a busy guest', [gap(900, 910), gap(999.5, 1_003.5)], 4, 10],
    ['may only end in it', [gap(998, 1_000.1)], 2.1, 1],
    ['may only begin in it', [gap(1_002.9, 1_005)], 2.1, 1],
    ['is not one that was over before, or began after it', [gap(990, 999.9), gap(1_003.1, 1_009)], 1, 9.9],
  ])('its gap at the pause %s', (_, gaps, atPauseMs, elsewhereMs) => {
    const found = gapsAround(gaps, [pause]);
    expect(found.atPauseMs).toBeCloseTo(atPauseMs);
    expect(found.elsewhereMs).toBeCloseTo(elsewhereMs);
  });

  test('a ticker that has lost gaps, or complains, fails the run instead of making it look short', () => {
    expect(parseGaps('31200000123 4500000\n')).toMatchObject([{ lengthMs: 4.5 }]);
    expect(parseGaps('')).toEqual([]);
    expect(() => parseGaps('lost 12\n31200000123 4500000')).toThrow(/lost 12/);
  });
});
