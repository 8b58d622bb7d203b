import { setTimeout as sleep } from 'node:timers/promises';
import type { Config } from '../config/config.js';
import type { Answer } from '../control/request.js';
import { withGuest } from '../guest/guest.js';
import { holderOf } from '../locks/exclusive-lock.js';
import { leaseLock } from '../pause/lease.js';

/** An mconsole `log` holds more, but one line of a kernel's log is read by people as well. */
export const maxReplyBytes = 500;
const replyLimitMs = 5000;
const lookForPauseMs = 100;

/**
 * The answer to a guest's request, as the line that `log` puts into its kernel log: `umlsnap reply id=42 status=0
 * snapshot=debian@20261121T031500Z`. It ends with a newline: a guest's kernel holds back text without one (uml-facts §2).
 */
export function formatReply({ id, status, output }: Pick<Answer, 'id' | 'status' | 'output'>): string {
  let line = `umlsnap reply id=${id} status=${status}`;
  for (const [key, value] of Object.entries(factsFor(output))) {
    const word = ` ${key}=${value.replace(/[^\x21-\x7e]+/g, '_')}`;
    if (Buffer.byteLength(line + word) < maxReplyBytes) line += word;
  }
  return `${line}\n`;
}

/** The few facts of an answer that a script in a guest can use: of all that was done, the last. */
function factsFor(output: readonly object[]): Record<string, string> {
  const last: Record<string, unknown> = { ...output.at(-1) };
  const facts: Record<string, string> = {};
  const code = last.code ?? (last.error as { code?: unknown } | null | undefined)?.code;
  if (typeof code === 'string') facts.error = code;
  for (const key of ['snapshot', 'consistency', 'job', 'state']) {
    const value = last[key];
    if (typeof value === 'string') facts[key] = value;
  }
  if (Array.isArray(last.removed)) facts.removed = String(last.removed.length);
  const newest = (last.lastSnapshot as { snapshot?: unknown } | null | undefined)?.snapshot;
  if (typeof newest === 'string') facts.last = newest;
  return facts;
}

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
