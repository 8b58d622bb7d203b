import { setTimeout as sleep } from 'node:timers/promises';
import type { Config } from '../config/config.js';
import { formatReply } from './guest-reply.js';
import type { Answer } from '../control/request.js';
import { withGuest } from '../guest/guest.js';
import { holderOf } from '../locks/exclusive-lock.js';
import { leaseLock } from '../pause/lease.js';

const replyLimitMs = 5000;
const lookForPauseMs = 100;

/**
 * Tells a guest of the config the answer to what it asked for. A guest that stands still MUST NOT be sent anything but what
 * its pause needs (design §2): the reply waits for whoever works on it.
 * @throws what a request to a console throws, and the signal's reason
 */
export async function replyToGuest(
  config: Config,
  guest: string,
  answer: Answer,
  signal: AbortSignal,
): Promise<void> {
  const guestConfig = config.guests[guest];
  if (!guestConfig) return;
  while ((await holderOf(leaseLock(config.state, guest))) !== undefined)
    await sleep(lookForPauseMs, undefined, { signal });
  await withGuest(guestConfig, (open) => open.log(formatReply(answer), replyLimitMs));
}
