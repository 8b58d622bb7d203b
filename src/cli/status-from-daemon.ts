import type { Config } from '../config/config.js';
import type { GuestStatus } from '../daemon/guest-status.js';
import { throughDaemon } from './through-daemon.js';

/** What a running daemon of this config knows of its guests, who hears their agents and what they say; null when there is none. */
export async function statusFromDaemon(config: Config): Promise<GuestStatus[] | null> {
  const guests: GuestStatus[] = [];
  const onProgress = (object: Record<string, unknown>) => takeGuest(object, guests);
  const request = { type: 'status', text: '' };
  return (await throughDaemon({ config, request, onProgress, onSummary: () => {} })) ? guests : null;
}

/** Of an answer to a request for the status. */
export function takeGuest({ type, ...status }: Record<string, unknown>, guests: GuestStatus[]): void {
  if (type === 'guest') guests.push(status as unknown as GuestStatus);
}
