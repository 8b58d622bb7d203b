import { describe, expect, test } from 'vitest';
import {
  defaultSettings,
  formatSettings,
  LiveSettings,
  listensTo,
  parseSettings,
} from '../../src/control/settings.js';

describe('the settings of kerneld', () => {
  test('what is not given is as it was for kerneld: 60 seconds, every type up to 255, and neither debug nor keep', () => {
    expect({ ...defaultSettings, ...parseSettings([]) }).toEqual({
      ...{ debug: false, keep: false, delaySeconds: 60, type: -255 },
    });
  });

  test('all four are taken in any order, and the later of two words wins', () => {
    expect(parseSettings(['type=-3', 'keep', 'delay=30', 'debug', 'nokeep'])).toEqual({
      ...{ debug: true, keep: false, delaySeconds: 30, type: -3 },
    });
  });

  test.each([
    'delay=0',
    'delay=',
    'delay=x',
    'delay=1.5',
    'delay=99999999',
    'type=',
    'type=--3',
    'Keep',
    '',
    'flush',
  ])('a word that means nothing is told, and not passed over: %j', (word) => {
    expect(() => parseSettings([word])).toThrow(/Usage/);
  });

  test('a positive type stands for itself, a negative one for all up to it, and 0 for all', () => {
    const heard = (type: number) => [1, 2, 3, 4, 5, 6, 300].filter((number) => listensTo({ type }, number));
    expect(heard(-255)).toEqual([1, 2, 3, 4, 5, 6]);
    expect(heard(-3)).toEqual([1, 2, 3]);
    expect(heard(3)).toEqual([3]);
    expect(heard(300)).toEqual([300]);
    expect(heard(0)).toEqual([1, 2, 3, 4, 5, 6, 300]);
  });

  test('they are shown in the words of kdstat', () => {
    expect(formatSettings(defaultSettings)).toBe('delay=60, nokeep, nodebug, type=-255');
    expect(formatSettings({ debug: true, keep: true, delaySeconds: 5, type: 1 })).toBe(
      'delay=5, keep, debug, type=1',
    );
  });

  test('a change is told to whoever watches, with what was before', () => {
    const live = new LiveSettings({ keep: true });
    const seen: unknown[] = [];
    live.watch((now, before) => seen.push([before.delaySeconds, now.delaySeconds, now.keep]));
    live.change({ delaySeconds: 5 });
    live.change({ keep: false });
    expect(seen).toEqual([
      [60, 5, true],
      [5, 5, false],
    ]);
  });
});
