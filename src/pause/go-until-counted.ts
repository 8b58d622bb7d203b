import type { BlockingConsole, SentRequest } from '../mconsole/blocking-console.js';
import { isAlive, type ProcessIdentity } from '../process-identity.js';
import { afterEvent, type PauseState, pauseOver, stopSent } from './resume-rule.js';

/** As the guardian does it (guest-resumer.ts): `go` is sent again after 5 ms, backing off to 250 ms. */
const firstRetryMs = 5;
const lastRetryMs = 250;
/** Unanswered ones that are still listened for, the oldest always: a guest that wakes up late is resumed by that one. */
const maxOpenGos = 8;

/**
 * Sends `go` to a guest whose `stop` was answered, until the pause is over by the rule of `resume-rule.ts`.
 * @returns `unresolved` where the guardian has to end it: nobody listens at the console
 */
export function goUntilCounted(
  console: BlockingConsole,
  main: ProcessIdentity,
): 'resumed' | 'resumedByOthers' | 'gone' | 'unresolved' {
  const open: SentRequest[] = [];
  let state: PauseState = { ...stopSent, stop: 'stopped' };
  const take = () => {
    for (const request of open.filter(({ answer }) => answer !== null)) {
      open.splice(open.indexOf(request), 1);
      const { answer } = request;
      const isRefused = answer?.type === 'refused' && answer.text === 'Not stopped';
      if (!isRefused && !(answer?.type === 'ok' && answer.text === '')) continue;
      state = afterEvent(state, {
        ...{ type: 'goAnswered', answer: isRefused ? 'notStopped' : 'resumed', sentAfterStopAnswer: true },
      });
    }
  };
  /** What is answered in another way than it should be is no answer, and is waited for no more. */
  const wait = (limitMs: number, isEnough: () => boolean) => {
    const untilMs = performance.now() + limitMs;
    for (take(); !isEnough() && performance.now() < untilMs; take())
      console.wait(open, untilMs, { any: true });
  };
  let retryMs = firstRetryMs;
  // The guardian ends this at the end of the budget, if the guest does not.
  for (;;) {
    const go = console.send('go');
    if (go.answer?.type === 'dead') return 'unresolved';
    open.push(go);
    if (open.length > maxOpenGos) for (const given of open.splice(1, 1)) console.drop(given);
    wait(retryMs, () => pauseOver(state) !== undefined);
    // An earlier one may have resumed the guest, with its answer still on the way.
    if (pauseOver(state) === 'others')
      wait(lastRetryMs, () => open.length === 0 || pauseOver(state) === 'resumed');
    const over = pauseOver(state);
    if (over === 'resumed') return 'resumed';
    if (over === 'others') return 'resumedByOthers';
    if (!isAlive(main)) return 'gone';
    retryMs = Math.min(2 * retryMs, lastRetryMs);
  }
}
