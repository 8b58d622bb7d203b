import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  afterEvent,
  type PauseEvent,
  type PauseState,
  pauseOver,
  stopSent,
} from '../../src/pause/resume-rule.js';

const stopAnswered = (answer: 'stopped' | 'alreadyStopped'): PauseEvent => ({ type: 'stopAnswered', answer });
const goAnswered = (answer: 'resumed' | 'notStopped', sentAfterStopAnswer: boolean): PauseEvent => ({
  type: 'goAnswered',
  answer,
  sentAfterStopAnswer,
});
const guestGone: PauseEvent = { type: 'guestGone' };

const after = (...events: PauseEvent[]): PauseState => events.reduce(afterEvent, stopSent);
const over = (...events: PauseEvent[]) => pauseOver(after(...events));

/** Whatever a guest, a network of relays and a scheduler can bring about, in whatever order. */
const anyEvent = fc.constantFrom<PauseEvent>(
  stopAnswered('stopped'),
  stopAnswered('alreadyStopped'),
  goAnswered('resumed', true),
  goAnswered('resumed', false),
  goAnswered('notStopped', true),
  goAnswered('notStopped', false),
  guestGone,
);
const anyEvents = fc.array(anyEvent, { maxLength: 20 });

describe('a pause is over', () => {
  test('never while its stop is outstanding and the guest lives, whatever was answered to go', () => {
    const withoutStopAnswer = anyEvents.map((events) =>
      events.filter(({ type }) => type !== 'stopAnswered' && type !== 'guestGone'),
    );
    fc.assert(
      fc.property(withoutStopAnswer, (events) => {
        expect(over(...events)).toBeUndefined();
      }),
    );
  });

  test('never by a go that was sent before the stop was answered, if the guest lives', () => {
    const withoutLaterGo = anyEvents.map((events) =>
      events.filter(
        (event) =>
          event.type !== 'guestGone' &&
          !(event.type === 'stopAnswered' && event.answer === 'alreadyStopped') &&
          !(event.type === 'goAnswered' && event.sentAfterStopAnswer),
      ),
    );
    fc.assert(
      fc.property(withoutLaterGo, (events) => {
        expect(over(...events)).toBeUndefined();
      }),
    );
  });

  test('only with a reason: a go acknowledged after the stop, a refusal, or the end of the guest', () => {
    fc.assert(
      fc.property(anyEvents, (events) => {
        const outcome = over(...events);
        const has = (wanted: (event: PauseEvent) => boolean) => events.some(wanted);
        if (outcome === 'gone') expect(has(({ type }) => type === 'guestGone')).toBe(true);
        if (outcome === 'notOurs') expect(events).toContainEqual(stopAnswered('alreadyStopped'));
        if (outcome === 'resumed' || outcome === 'others') {
          expect(events).toContainEqual(stopAnswered('stopped'));
          expect(has((event) => event.type === 'goAnswered' && event.sentAfterStopAnswer)).toBe(true);
        }
        // Ours only if a go of ours was answered so: a capture is good by this word.
        const resumedByUs = has((event) => event.type === 'goAnswered' && event.answer === 'resumed');
        if (outcome === 'resumed') expect(resumedByUs).toBe(true);
        if (outcome === 'others') expect(resumedByUs).toBe(false);
      }),
    );
  });

  test('at the latest when the stop is answered and one more go is: it can always come to an end', () => {
    fc.assert(
      fc.property(anyEvents, (events) => {
        expect(over(...events, stopAnswered('stopped'), goAnswered('notStopped', true))).toBeDefined();
      }),
    );
  });
});

const stopped = stopAnswered('stopped');
const refused = stopAnswered('alreadyStopped');
const resumed = (sentAfterStopAnswer: boolean) => goAnswered('resumed', sentAfterStopAnswer);
const notStopped = (sentAfterStopAnswer: boolean) => goAnswered('notStopped', sentAfterStopAnswer);

test.each<[string, PauseEvent[], ReturnType<typeof pauseOver>]>([
  ['a go that overtook its stop does not end it', [notStopped(false), stopped], undefined],
  ['but the next one does', [notStopped(false), stopped, resumed(true)], 'resumed'],
  [
    'a go that resumed the guest before the stop was answered is ours',
    [resumed(false), stopped, notStopped(true)],
    'resumed',
  ],
  [
    'Not stopped after the stop means that somebody else resumed the guest',
    [stopped, notStopped(true)],
    'others',
  ],
  [
    'the late Not stopped of a go that came twice takes nothing back',
    [stopped, resumed(true), notStopped(true)],
    'resumed',
  ],
  ['a guest that was stopped before us is not ours', [refused], 'notOurs'],
  ['and ends no otherwise', [refused, resumed(true)], 'notOurs'],
])('%s', (_, events, expected) => {
  expect(over(...events)).toBe(expected);
});
