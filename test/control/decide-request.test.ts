import { expect, test } from 'vitest';
import { type DeskState, decideRequest, maxRequestsAtOnce } from '../../src/control/decide-request.js';
import { answerOf, type Demand, maxOutputBytes, numberOf } from '../../src/control/request.js';
import { defaultSettings, type Settings } from '../../src/control/settings.js';

const snapshot: Demand = { type: 'snapshot', guest: 'debian', options: {} };
const prune: Demand = { type: 'prune', guest: null, dryRun: false };

function decide(
  demand: Demand | undefined,
  settings: Partial<Settings> = {},
  state: Partial<DeskState> = {},
) {
  const number = demand ? numberOf(demand.type) : 9;
  const decision = decideRequest(
    { id: 7, number, demand, requester: { from: 'host', pid: 1 } },
    {
      settings: { ...defaultSettings, ...settings },
      runningRequests: 0,
      runningOfRequester: 0,
      idIsTaken: false,
      ...state,
    },
  );
  return decision.does === 'refuse' ? decision.because.code : decision.does;
}

test('every type that there is is carried out', () => {
  expect(decide(snapshot)).toBe('run');
  expect(decide(prune)).toBe('run');
  expect(decide({ type: 'drill', snapshot: 'debian@latest' })).toBe('run');
});

test('a type that nobody knows is told, and one that is not listened to is not even looked at', () => {
  expect(decide(undefined)).toBe('UnknownRequest');
  expect(decide(undefined, { type: -3 })).toBe('NotListening');
  expect(decide(snapshot, { type: 2 })).toBe('NotListening');
  expect(decide(snapshot, { type: 1 })).toBe('run');
  expect(decide({ type: 'cancel', of: 3 }, { type: -5 })).toBe('NotListening');
});

test('keep lets nobody remove a snapshot, and everybody ask what would be removed', () => {
  expect(decide(prune, { keep: true })).toBe('KeepIsOn');
  expect(decide(prune, { keep: true, type: 1 })).toBe('KeepIsOn');
  expect(decide({ ...prune, dryRun: true }, { keep: true })).toBe('run');
  expect(decide(snapshot, { keep: true })).toBe('run');
});

test('no two requests of one requester have the same id, and a crowd is sent away, but never a cancel', () => {
  expect(decide(snapshot, {}, { idIsTaken: true })).toBe('RequestIdTaken');
  const crowd = { runningRequests: maxRequestsAtOnce };
  expect(decide(snapshot, {}, crowd)).toBe('TooManyRequests');
  expect(decide({ type: 'cancel', of: 3 }, {}, crowd)).toBe('run');
});

test('an answer is bounded, and says that something was left out', () => {
  const large = { text: 'x'.repeat(maxOutputBytes / 2) };
  const answer = answerOf(7, 0, [large, large, { small: true }]);
  expect(answer).toMatchObject({ id: 7, status: 0, cut: true });
  expect(answer.output).toEqual([large, { small: true }]);
  expect(answerOf(7, 0, [{ small: true }]).cut).toBe(false);
});
