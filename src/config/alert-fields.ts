import * as z from 'zod';
import { type AlertConfig, type AlertKind, alertKinds, type HooksConfig } from './alert-config.js';
import { parseDuration } from './duration.js';
import { pathField } from './fields.js';

/** Who is told of jobs, and what is run around them, as it stands in the config. */

/** A program and its arguments; no shell ever sees it. */
export const commandField = z
  .array(
    z.string().regex(/^\P{Cc}*$/u, 'must not contain control characters'),
    'must be a list: the absolute path of a program, and its arguments',
  )
  .superRefine(([program], context) => {
    if (!pathField.safeParse(program).success)
      context.addIssue('must begin with the absolute path of a program');
  })
  .transform((argv) => argv as [string, ...string[]]);

const addressField = z.string().superRefine((text, context) => {
  if (!/^https?:\/\/[^\s/]+/.test(text) || !URL.canParse(text))
    context.addIssue('must be an address that begins with https:// or http://');
  else if (new URL(text).username !== '' || new URL(text).password !== '')
    context.addIssue('must have no user and no password in it');
});

/** A mailbox of this host, or one with a domain; nothing that could be an option of sendmail, or another header. */
const mailboxField = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}(@[A-Za-z0-9][A-Za-z0-9.-]{0,252})?$/, 'must be a mail address');

const onField = z
  .array(z.enum(alertKinds, `must be one of ${alertKinds.join(', ')}`))
  .refine((kinds) => kinds.length > 0, 'needs at least one kind of alert');

/** One way to tell somebody. Exactly one of the first four keys says how. */
export const alertSchema = z
  .strictObject({
    command: commandField.exactOptional(),
    webhook: addressField.exactOptional(),
    mail: mailboxField.exactOptional(),
    ping: addressField.exactOptional(),
    on: onField.exactOptional(),
  })
  .superRefine(({ command, webhook, mail, ping, on }, context) => {
    const ways = [command, webhook, mail, ping].filter((way) => way !== undefined);
    if (ways.length !== 1) context.addIssue('needs exactly one of command, webhook, mail and ping');
    if (ping !== undefined && on !== undefined)
      context.addIssue('a ping tells of every backup: `on` has no meaning for it');
  });

const timeoutField = z.unknown().transform((value, context): number => {
  const durationMs = typeof value === 'string' ? parseDuration(value) : null;
  if (durationMs !== null && durationMs >= 1000 && durationMs <= 86_400_000) return durationMs;
  context.addIssue('must be a duration between 1s and 1d, such as 30s or 10m');
  return z.NEVER;
});

export const hooksSchema = z.strictObject({
  before: commandField.exactOptional(),
  after: commandField.exactOptional(),
  failed: commandField.exactOptional(),
  timeout: timeoutField.exactOptional(),
});

/**
 * Quiet: what keeps backups from being made or from being carried on, and a level of consistency that is another one for good, once, and
 * its end. A guest that we may have left standing is told of as a failure.
 */
const quiet: AlertKind[] = ['failure', 'recovery', 'storeLag', 'halted', 'level'];

export function resolveAlert(input: z.infer<typeof alertSchema>): AlertConfig {
  const { command, webhook, mail, ping, on = quiet } = input;
  if (command !== undefined) return { by: 'command', command, on };
  if (webhook !== undefined) return { by: 'webhook', address: webhook, on };
  if (mail !== undefined) return { by: 'mail', mailbox: mail, on };
  return { by: 'ping', address: ping ?? '' };
}

export function resolveHooks(input: z.infer<typeof hooksSchema>): HooksConfig {
  const { before = null, after = null, failed = null, timeout = 60_000 } = input;
  return { before, after, failed, timeoutMs: timeout };
}
