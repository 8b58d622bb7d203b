/**
 * When is a pause over? `stop` is queued in the guest and `go` runs at once, so a `go` can overtake its `stop`: it is
 * answered `Not stopped`, and then the guest pauses for ever (uml-facts, fact 4: 135 of 200 guests). Therefore a `stop`
 * without an answer is outstanding, and a pause MUST NOT be called over before a `go` that was SENT AFTER the stop's
 * own answer has been acknowledged, or the guest is gone.
 */

export interface PauseState {
  stop: 'outstanding' | 'stopped' | 'refused';
  /** A `go` that was sent after the stop's answer was acknowledged. */
  go: 'none' | 'resumed' | 'notStopped';
  /** Some `go` of ours was answered as having resumed the guest, at whatever time it was sent. */
  resumedOnce: boolean;
  guestGone: boolean;
}

export const stopSent: PauseState = { stop: 'outstanding', go: 'none', resumedOnce: false, guestGone: false };

export type PauseEvent =
  | { type: 'stopAnswered'; answer: 'stopped' | 'alreadyStopped' }
  | { type: 'goAnswered'; answer: 'resumed' | 'notStopped'; sentAfterStopAnswer: boolean }
  | { type: 'guestGone' };

/** How a pause ended. `others`: somebody else had resumed the guest before our `go`. */
export type PauseOver = 'resumed' | 'others' | 'notOurs' | 'gone';

/** The state after an event. */
export function afterEvent(state: PauseState, event: PauseEvent): PauseState {
  switch (event.type) {
    case 'stopAnswered':
      return { ...state, stop: event.answer === 'stopped' ? 'stopped' : 'refused' };
    case 'goAnswered':
      return {
        ...state,
        go: event.sentAfterStopAnswer && state.go !== 'resumed' ? event.answer : state.go,
        resumedOnce: state.resumedOnce || event.answer === 'resumed',
      };
    case 'guestGone':
      return { ...state, guestGone: true };
  }
}

/** How the pause ended, or undefined while `go` has to be sent again. */
export function pauseOver(state: PauseState): PauseOver | undefined {
  if (state.stop === 'refused') return 'notOurs';
  if (state.guestGone) return 'gone';
  if (state.stop === 'outstanding' || state.go === 'none') return undefined;
  return state.resumedOnce ? 'resumed' : 'others';
}
