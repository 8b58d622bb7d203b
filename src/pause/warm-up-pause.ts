import type { HostView } from '../guest/host-view.js';
import type { BlockingConsole, SentRequest } from '../mconsole/blocking-console.js';
import { ownIdentity } from '../process-identity.js';
import { pause } from './pause.js';
import type { PausePage } from './pause-page.js';

const answers: Record<string, string> = {
  stop: 'stopped',
  'proc vmstat': 'nr_dirty 0\nnr_writeback 0\n',
  'proc diskstats': ' 98 0 ubda 1 0 8 0 1 0 8 0 0 0 0 0\n',
};

/**
 * Goes through the pause with a guest that does not exist: code takes milliseconds when it runs for the first time, or has not run for
 * long, and MUST NOT do that while a guest stands still. A turn takes a fifth of a millisecond.
 */
export function warmUpPause(turns: number): void {
  const send = (command: string): SentRequest => ({
    command,
    answer: { type: 'ok', text: answers[command] ?? '' },
  });
  const console = { socketPath: '', send, ask: send, wait: () => true } as unknown as BlockingConsole;
  const host = {
    mainPid: process.pid,
    stopSign: () => 'stopped',
    tellsSleepers: () => true,
    look: () => ({ blocked: true, written: '' }),
  } as unknown as HostView;
  const page = {
    read: () => ({ stage: 'stopping', sentAtMs: 0, stoppedAtMs: 0 }),
    ...{ write: () => {}, enter: () => {}, noteStopped: () => {} },
  } as unknown as PausePage;
  const capture = { isCheap: true, takeAhead: () => {}, takeRest: () => {}, prove: () => {} };
  const dirty = { dirtyKib: 0, inFlight: 0, completedWrites: 1, diskWrites: [1] };
  const main = ownIdentity();
  for (let turn = 0; turn < turns; turn++) {
    pause(
      { main, console, host, page, capture },
      {
        ...{ guest: '', devices: ['ubd0'], budgetMs: 1000, isSmp: false, isFrozen: false, synced: dirty },
        ...{ readiness: { type: 'clean', completedWrites: 1 }, acceptsDirty: false, goesByFreeze: false },
      },
    );
  }
}
