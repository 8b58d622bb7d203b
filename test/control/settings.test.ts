import { expect, test } from 'vitest';
import { listensTo, parseSettings } from '../../src/control/settings.js';

test('all four settings are taken in any order, the later of two words wins, and what is not given is not set', () => {
  const settings = parseSettings(['type=-3', 'keep', 'delay=30', 'debug', 'nokeep']);
  expect(settings).toEqual({ debug: true, keep: false, delaySeconds: 30, type: -3 });
  expect(parseSettings([])).toEqual({});
});

test.each([
  ...['delay=0', 'delay=', 'delay=x', 'delay=1.5', 'delay=99999999', 'type=', 'type=--3'],
  ...['Keep', '', 'flush'],
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
