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
  /**
   * How requests get to the guest. `dead`: nobody listens at the socket that we hold. That is so when the guest has rebooted, and
   * our stop is gone with it; or a relay before its console has died, and the guest may stand paused all the same.
   */
  way: 'open' | 'dead' | 'noPlaceForAnswers';
  /** How often in a row the guest was seen running while its way was dead. */
  seenRunning: number;
}

export const stopSent: PauseState = {
  ...{ stop: 'outstanding', go: 'none', resumedOnce: false, guestGone: false, way: 'open', seenRunning: 0 },
};

/**
 * A paused guest may be seen running while it answers somebody. It MUST NOT be called gone for that, since nobody would resume it.
 * The looks are as far apart as the `go`s: these take most of a second, in which there is nobody to send a `go` to.
 */
export const looksUntilGone = 8;

export type PauseEvent =
  | { type: 'stopAnswered'; answer: 'stopped' | 'alreadyStopped' }
  | { type: 'goAnswered'; answer: 'resumed' | 'notStopped'; sentAfterStopAnswer: boolean }
  | { type: 'guestGone' }
  | { type: 'socketDead' }
  | { type: 'noPlaceForAnswers' }
  /** From the host, while the way is dead. */
  | { type: 'looked'; sign: 'stopped' | 'running' | 'unknown' }
  /** The client, another one or the old one, is to be asked again. */
  | { type: 'wayToTry' };

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
    case 'socketDead':
      return { ...state, way: 'dead' };
    case 'noPlaceForAnswers':
      return state.way === 'dead' ? state : { ...state, way: 'noPlaceForAnswers' };
    case 'looked': {
      // A guest that has a stop before it may stand still later. A host that does not tell has not said that the guest runs.
      const isNoSign = state.stop === 'outstanding' || event.sign !== 'running';
      const seenRunning = isNoSign ? 0 : state.seenRunning + 1;
      return { ...state, seenRunning, guestGone: state.guestGone || seenRunning >= looksUntilGone };
    }
    case 'wayToTry':
      return { ...state, way: 'open' };
  }
}

/** Whether another client is to be opened: not for a guest that seems to have rebooted, until it is known whether it has. */
export function wantsNewClient({ way, seenRunning }: PauseState): boolean {
  return way !== 'open' && seenRunning === 0;
}

/** How the pause ended, or undefined while `go` has to be sent again. */
export function pauseOver(state: PauseState): PauseOver | undefined {
  if (state.stop === 'refused') return 'notOurs';
  if (state.guestGone) return 'gone';
  if (state.stop === 'outstanding' || state.go === 'none') return undefined;
  return state.resumedOnce ? 'resumed' : 'others';
}
