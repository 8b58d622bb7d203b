import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import type { Capture } from '../capture/capture.js';
import { UmlsnapError } from '../errors.js';
import {
  countersLacking,
  type DirtyState,
  isClean,
  parseDirtyState,
  type Readiness,
} from '../guest/dirty-state.js';
import type { HostView } from '../guest/host-view.js';
import { isIdle } from '../guest/io-drain.js';
import type { BlockingConsole } from '../mconsole/blocking-console.js';
import { textOfAnswer } from '../mconsole/commands.js';
import { printableLine } from '../mconsole/printable.js';
import { pauseRequests } from './pause.js';

export interface Hunt {
  guest: string;
  devices: string[];
  console: BlockingConsole;
  host: HostView;
  capture: Capture;
  huntMs: number;
}

const pollMs = 2;
/** Between the requests of one sync the guest's disks are quiet for a moment; so often in a row they have to be. */
const stillLooksNeeded = 3;
/** A guest that never stops writing is asked to sync again after this time. */
const roundMs = 500;
/** A guest that writes without a gap for so long is stopped as it is; its last writes are then waited for in the pause. */
const idleLimitMs = 500;
const keepUpMs = 1;
const answerLimitMs = 5000;

/**
 * Looks for a moment in which the guest has nothing to write: it syncs (BEFORE its stop: a `sysrq s` to a stopped guest writes
 * nothing, uml-facts, fact 1), and is looked at until its disks stand still and nothing is dirty. One sync never is enough: it starts
 * the journal's commit, and the commit leaves the blocks that it has logged dirty in their places. `stop` MUST come at once after such a
 * look. When the time is up, the guest is taken as it is, in a moment when its I/O helper has nothing to do. Meanwhile the copy is kept up
 * with it.
 * @throws SysrqDisabled, what a guest that answers nothing throws, what `keepUp` throws
 */
export async function huntForCleanMoment(
  hunt: Hunt,
): Promise<{ readiness: Readiness; figures: Record<string, unknown> }> {
  const { capture } = hunt;
  const untilMs = performance.now() + hunt.huntMs;
  let syncedOnHost = -1;
  for (let rounds = 1; ; rounds++) {
    requestSync(hunt);
    const roundEndsMs = Math.min(untilMs, performance.now() + roundMs);
    let before = look(hunt);
    for (let stillLooks = 0; ; ) {
      await sleep(pollMs);
      // What a guest at full speed writes meanwhile would only fill the host's memory.
      const isCaughtUp = stillLooks > 0 && capture.keepUp(keepUpMs);
      const now = look(hunt);
      const { dirtyKib, completedWrites } = now;
      const isQuiet = now.inFlight === 0 && completedWrites === before.completedWrites;
      stillLooks = isQuiet ? stillLooks + 1 : 0;
      const isSettled = stillLooks >= stillLooksNeeded && isClean(now);
      // As long as there is more to be copied than a pause should take, the guest may go on being still.
      if (isSettled && !isCaughtUp) {
        before = now;
        continue;
      }
      if (isSettled && capture.wantsHostSync && syncedOnHost !== completedWrites) {
        // A reflink flushes what the host has not written: milliseconds of pause. Only the next look tells what came meanwhile.
        await capture.syncOnHost();
        syncedOnHost = completedWrites;
      } else if (isSettled) {
        // Nothing is written now.
        return {
          readiness: { type: 'clean', completedWrites },
          figures: { settled: true, rounds, dirtyKib },
        };
      } else if (stillLooks >= stillLooksNeeded || performance.now() >= roundEndsMs) break;
      before = now;
    }
    if (performance.now() < untilMs) continue;
    const { dirtyKib } = before;
    return {
      readiness: { type: 'busy' },
      figures: { settled: false, rounds, dirtyKib, ...(await idle(hunt)) },
    };
  }
}

/** The guest is stopped next, clean or not. */
async function idle({ capture, host }: Hunt): Promise<{ idle: boolean; idleAfterMs: number }> {
  if (capture.wantsHostSync) await capture.syncOnHost();
  const startedMs = performance.now();
  let hasRest = false;
  // What is left to the copy is what the guest writes between the last step and its stop.
  while (!hasRest && performance.now() - startedMs < idleLimitMs) {
    await nextTurn();
    hasRest = capture.keepUp(keepUpMs) && isIdle(host);
  }
  return { idle: hasRest, idleAfterMs: Math.round(performance.now() - startedMs) };
}

/** An empty OK, or another text, means that nothing was done (uml-facts, fact 8). */
function requestSync({ console, guest, capture }: Hunt): void {
  // One that says nothing is asked again: the words of a kernel whose console is busy with others may come into no answer.
  const text = ask(console, 'sysrq s', capture) || ask(console, 'sysrq s', capture);
  if (text.includes('Emergency Sync')) return;
  throw new UmlsnapError('SysrqDisabled', { guest, setting: printableLine(text).trim() || 'off' });
}

/** The guest's counters. Its console is ready for what comes next, which may be `stop`. */
function look({ console, devices, capture }: Hunt): DirtyState {
  console.forget();
  console.bindAhead(requestsOfLook);
  const texts = ['proc vmstat', 'proc diskstats'].map((command) => ask(console, command, capture));
  const state = parseDirtyState(texts[0] ?? '', texts[1] ?? '', devices);
  if (!state) throw countersLacking(console.socketPath);
  return state;
}

/** Its own two, and those of the pause. */
const requestsOfLook = 2 + pauseRequests;

function ask(console: BlockingConsole, command: string, capture: Capture): string {
  const meanwhile = () => {
    capture.lookAtTracking();
    return true;
  };
  return textOfAnswer(console.socketPath, console.ask(command, answerLimitMs, meanwhile), answerLimitMs);
}
