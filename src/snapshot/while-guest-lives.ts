import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { isError, UmlsnapError } from '../errors.js';
import type { GuestProcesses } from '../guest/guest-processes.js';
import type { NotificationSource } from '../mconsole/notify-listener.js';
import { isAlive } from '../process-identity.js';
import type { Phase } from './phase-journal.js';

export interface Watched {
  guest: string;
  processes: Pick<GuestProcesses, 'main' | 'holders'>;
  /** Whether it has been halted, as far as can be seen. */
  isHalted(): Promise<boolean>;
  /** null: nobody hears what the guest says by itself. */
  source: NotificationSource | null;
  phase(): Phase;
  signal: AbortSignal;
}

/** We have not stopped it in them: whatever ends it there is none of ours. */
const phasesBeforeStop: readonly Phase[] = ['precopy', 'sync', 'freeze'];
/** A copy may take hours. */
const watchMs = 1000;
/** Helpers end some moments after their guest, also on a busy host. */
const helpersEndWithinMs = 5000;
/** Whoever runs a guest as a service has it back by then. */
const restartedWithinMs = 2000;

/**
 * Runs `use` with a signal that is aborted as soon as the guest says that it panics, or that it boots, or its process has ended
 * before its stop; and with the job's own. A guest can lie about the first two: what it ends is its own backup.
 * @throws GuestPanicked, GuestRebooted, GuestHalted, GuestGone, what `use` throws
 */
export async function whileGuestLives<T>(
  watched: Watched,
  use: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const { guest, source, phase, processes, signal } = watched;
  const end = new AbortController();
  let said: UmlsnapError | undefined;
  const stop = source?.subscribe((notification) => {
    const facts = { guest, phase: phase() };
    if (notification.type === 'panic')
      said ??= new UmlsnapError('GuestPanicked', { ...facts, text: notification.text.trim() });
    if (notification.type === 'booted') said ??= new UmlsnapError('GuestRebooted', facts);
    if (said) end.abort(said);
  });
  const endedIn = () => (phasesBeforeStop.includes(phase()) && !isAlive(processes.main) ? phase() : null);
  const timer = setInterval(() => {
    const ended = endedIn();
    if (ended !== null) end.abort(new UmlsnapError('GuestGone', { guest, phase: ended, leftoverPids: [] }));
  }, watchMs);
  try {
    return await use(AbortSignal.any([signal, end.signal]));
  } catch (error) {
    // Whatever was under way may have noticed its end before we have read why.
    await nextTurn();
    if (isError(error, 'GuestMayBePaused')) throw error;
    if (said) throw said;
    const ended = endedIn();
    throw ended === null ? error : await howItEnded(watched, ended);
  } finally {
    clearInterval(timer);
    stop?.();
  }
}

/** Whoever halts a guest does that on purpose; one that has left something, or is there again at once, has come to grief. */
async function howItEnded({ guest, processes, isHalted }: Watched, phase: Phase): Promise<UmlsnapError> {
  const leftovers = () => processes.holders.filter(isAlive);
  const deadlineMs = performance.now() + helpersEndWithinMs;
  while (leftovers().length > 0 && performance.now() < deadlineMs) await sleep(100);
  const leftoverPids = leftovers().map(({ pid }) => pid);
  if (leftoverPids.length === 0) {
    await sleep(restartedWithinMs);
    if (await isHalted()) return new UmlsnapError('GuestHalted', { guest, phase });
  }
  return new UmlsnapError('GuestGone', { guest, phase, leftoverPids });
}
