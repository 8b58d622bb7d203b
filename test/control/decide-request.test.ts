import { expect, test } from 'vitest';
import { decideRequest } from '../../src/control/decide-request.js';
import { answerOf, type ControlCommand, maxOutputBytes } from '../../src/control/request.js';
import { defaultSettings, listensTo, parseSettings, type Settings } from '../../src/control/settings.js';
import { requestFor, snapshotOf } from './dispatcher-of-tests.js';

const prune: ControlCommand = { type: 'prune', guest: null, dryRun: false };
const snapshot = snapshotOf('debian');
const unknown = { ...requestFor(snapshot), number: 9, command: undefined };

test.each<[string, ControlCommand | undefined, Partial<Settings>, string]>([
  ['a type that nobody knows is told', undefined, {}, 'UnknownRequest'],
  ['one that is not listened to is not even looked at', undefined, { type: -3 }, 'NotListening'],
  ['of a known type neither', snapshot, { type: 2 }, 'NotListening'],
  ['nor a cancel', { type: 'cancel', of: 3 }, { type: -5 }, 'NotListening'],
  ['the only type that is listened to is carried out', snapshot, { type: 1 }, 'run'],
  ['keep lets nobody remove a snapshot', prune, { keep: true }, 'KeepIsOn'],
  ['not alone either, where prunes are not listened to', prune, { keep: true, type: 1 }, 'KeepIsOn'],
  ['everybody may ask what would be removed', { ...prune, dryRun: true }, { keep: true }, 'run'],
  ['and have snapshots taken', snapshot, { keep: true }, 'run'],
])('%s', (_, command, changes, expected) => {
  const settings = { ...defaultSettings, ...changes };
  const state = { settings, runningRequests: 0, runningOfRequester: 0, idIsTaken: false };
  const decision = decideRequest(command ? requestFor(command) : unknown, state);
  expect(decision.does === 'refuse' ? decision.because.code : decision.does).toBe(expected);
});

test('an answer is bounded, and says that something was left out', () => {
  const large = { text: 'x'.repeat(maxOutputBytes / 2) };
  const answer = answerOf(7, 0, [large, large, { small: true }]);
  expect(answer).toMatchObject({ id: 7, status: 0, cut: true });
  expect(answer.output).toEqual([large, { small: true }]);
  expect(answerOf(7, 0, [{ small: true }]).cut).toBe(false);
});

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
