import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  afterEvent,
  looksUntilGone,
  type PauseEvent,
  pauseOver,
  stopSent,
  wantsNewClient,
} from '../../src/pause/resume-rule.js';

const stopped: PauseEvent = { type: 'stopAnswered', answer: 'stopped' };
const refused: PauseEvent = { type: 'stopAnswered', answer: 'alreadyStopped' };
const goAnswered = (answer: 'resumed' | 'notStopped', sentAfterStopAnswer: boolean): PauseEvent => ({
  ...{ type: 'goAnswered', answer, sentAfterStopAnswer },
});
const early = { resumed: goAnswered('resumed', false), notStopped: goAnswered('notStopped', false) };
const later = { resumed: goAnswered('resumed', true), notStopped: goAnswered('notStopped', true) };
const gone: PauseEvent = { type: 'guestGone' };

const dead: PauseEvent = { type: 'socketDead' };
const noPlace: PauseEvent = { type: 'noPlaceForAnswers' };
const toTry: PauseEvent = { type: 'wayToTry' };
const looked = (sign: 'stopped' | 'running' | 'unknown'): PauseEvent => ({ type: 'looked', sign });
const looks = { stopped: looked('stopped'), running: looked('running'), unknown: looked('unknown') };
const seen = (look: PauseEvent, times: number): PauseEvent[] => Array.from({ length: times }, () => look);

const after = (events: PauseEvent[]) => events.reduce(afterEvent, stopSent);
const over = (...events: PauseEvent[]) => pauseOver(after(events));

/** Whatever a guest, a network of relays and a scheduler can bring about, in whatever order. */
const anyEvents = fc.array(
  fc.constantFrom(
    ...[stopped, refused, gone, dead, noPlace, toTry, looks.running, looks.running, looks.running],
    ...[...Object.values(looks), ...Object.values(early), ...Object.values(later)],
  ),
  { maxLength: 40 },
);

test('a pause is over only with a reason: a go that was sent after the stop`s answer is acknowledged, a refusal, or the end of the guest', () => {
  fc.assert(
    fc.property(anyEvents, (events) => {
      const outcome = over(...events);
      if (outcome === 'gone' && !events.includes(gone)) {
        expect(events).toContain(stopped);
        expect(events.filter((event) => event === looks.running).length).toBeGreaterThanOrEqual(
          looksUntilGone,
        );
      }
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
  [
    'a guest whose socket is dead is gone when each of some looks has found it running',
    [stopped, dead, ...seen(looks.running, looksUntilGone)],
    'gone',
  ],
  [
    'and not when one of them found it stopped: it may have been answering somebody else',
    [stopped, dead, ...seen(looks.running, looksUntilGone - 1), looks.stopped, looks.running],
    undefined,
  ],
  [
    'nor when the host does not tell',
    [stopped, dead, ...seen(looks.unknown, 3 * looksUntilGone), looks.running],
    undefined,
  ],
  [
    'nor while its stop may still come: that it runs says nothing then',
    [dead, ...seen(looks.running, 3 * looksUntilGone)],
    undefined,
  ],
])('%s', (_, events, expected) => {
  expect(over(...events)).toBe(expected);
});

test.each<[string, PauseEvent[], boolean]>([
  ['one that is reached', [stopped], false],
  ['one whose socket is dead', [stopped, dead], true],
  ['one that stands still behind a dead socket', [stopped, dead, looks.stopped], true],
  ['one of which the host does not tell', [stopped, dead, looks.unknown], true],
  ['one that seems to run', [stopped, dead, looks.running], false],
  ['one that seemed to run, and stands still', [stopped, dead, looks.running, looks.stopped], true],
  ['one that runs, with a stop before it', [dead, looks.running], true],
  ['one whose answers have no place', [stopped, noPlace], true],
  ['one whose dead socket was no place for answers as well', [stopped, dead, noPlace, looks.running], false],
  ['one that is reached again', [stopped, dead, looks.stopped, toTry], false],
])('%s is asked by a new client, or not', (_, events, expected) => {
  expect(wantsNewClient(after(events))).toBe(expected);
});
