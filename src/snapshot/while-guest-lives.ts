import { setImmediate as nextTurn } from 'node:timers/promises';
import { isError, UmlsnapError } from '../errors.js';
import type { NotificationSource } from '../mconsole/notify-listener.js';

export interface Watched {
  guest: string;
  /** null: nobody hears what the guest says by itself. */
  source: NotificationSource | null;
  phase(): string;
  signal: AbortSignal;
}

/**
 * Runs `use` with a signal that is aborted as soon as the guest says that it panics, or that it boots, and with the job's own.
 * A guest can lie about that: what it ends is its own backup.
 * @throws GuestPanicked, GuestRebooted, what `use` throws
 */
export async function whileGuestLives<T>(
  { guest, source, phase, signal }: Watched,
  use: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const end = new AbortController();
  const stop = source?.subscribe((notification) => {
    const facts = { guest, phase: phase() };
    if (notification.type === 'panic')
      end.abort(new UmlsnapError('GuestPanicked', { ...facts, text: notification.text.trim() }));
    if (notification.type === 'booted') end.abort(new UmlsnapError('GuestRebooted', facts));
  });
  try {
    return await use(AbortSignal.any([signal, end.signal]));
  } catch (error) {
    // Whatever was under way may have noticed its end before we have read why.
    await nextTurn();
    if (!end.signal.aborted || isError(error, 'GuestMayBePaused')) throw error;
    throw end.signal.reason;
  } finally {
    stop?.();
  }
}
