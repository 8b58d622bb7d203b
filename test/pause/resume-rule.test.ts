import fc from 'fast-check';
import { expect, test } from 'vitest';
import { afterEvent, type PauseEvent, pauseOver, stopSent } from '../../src/pause/resume-rule.js';

const stopped: PauseEvent = { type: 'stopAnswered', answer: 'stopped' };
const refused: PauseEvent = { type: 'stopAnswered', answer: 'alreadyStopped' };
const goAnswered = (answer: 'resumed' | 'notStopped', sentAfterStopAnswer: boolean): PauseEvent => ({
  ...{ type: 'goAnswered', answer, sentAfterStopAnswer },
});
const early = { resumed: goAnswered('resumed', false), notStopped: goAnswered('notStopped', false) };
const later = { resumed: goAnswered('resumed', true), notStopped: goAnswered('notStopped', true) };
const gone: PauseEvent = { type: 'guestGone' };

const over = (...events: PauseEvent[]) => pauseOver(events.reduce(afterEvent, stopSent));

/** Whatever a guest, a network of relays and a scheduler can bring about, in whatever order. */
const anyEvents = fc.array(
  fc.constantFrom(stopped, refused, gone, ...Object.values(early), ...Object.values(later)),
  { maxLength: 20 },
);

test('a pause is over only with a reason: a go that was sent after the stop`s answer is acknowledged, a refusal, or the end of the guest', () => {
  fc.assert(
    fc.property(anyEvents, (events) => {
      const outcome = over(...events);
      if (outcome === 'gone') expect(events).toContain(gone);
      if (outcome === 'notOurs') expect(events).toContain(refused);
      if (outcome === 'resumed' || outcome === 'others') {
        expect(events).toContain(stopped);
        expect(events.includes(later.resumed) || events.includes(later.notStopped)).toBe(true);
        // Ours only if a go of ours was answered so: a capture is good by this word.
        const resumedByUs = events.includes(early.resumed) || events.includes(later.resumed);
        expect(outcome).toBe(resumedByUs ? 'resumed' : 'others');
      }
    }),
  );
});

test('it is over at the latest when the stop is answered and one more go is: it can always come to an end', () => {
  fc.assert(
    fc.property(anyEvents, (events) => {
      expect(over(...events, stopped, later.notStopped)).toBeDefined();
    }),
  );
});

test.each<[string, PauseEvent[], ReturnType<typeof pauseOver>]>([
  [
    'a go that overtook its stop does not end it, but the next one does',
    [early.notStopped, stopped, later.resumed],
    'resumed',
  ],
  [
    'a go may be answered before the stop that it ended',
    [early.resumed, stopped, later.notStopped],
    'resumed',
  ],
  ['a go that came twice takes nothing back', [stopped, later.resumed, later.notStopped], 'resumed'],
  ['a guest that was stopped before us is not ours', [refused], 'notOurs'],
  ['and ends no otherwise', [refused, later.resumed], 'notOurs'],
])('%s', (_, events, expected) => {
  expect(over(...events)).toBe(expected);
});
