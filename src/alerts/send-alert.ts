import { childEnvironment } from '../child-environment.js';
import type { AlertConfig } from '../config/alert-config.js';
import { isError, problemOf, UmlsnapError } from '../errors.js';
import { runCommand } from '../run-command.js';
import type { Alert } from './alert.js';

const limitMs = 30_000;
/** Where every mail server has it. */
export const sendmail = '/usr/sbin/sendmail';

/** What a dead man's switch is told, as healthchecks.io has it: the address itself, `/start` and `/fail` after it. */
export type PingEvent = 'start' | 'success' | 'fail';

/** @throws AlertFailed, or the signal's reason */
export async function sendAlert(
  way: Exclude<AlertConfig, { by: 'ping' }>,
  alert: Alert,
  signal: AbortSignal,
): Promise<void> {
  switch (way.by) {
    case 'command': {
      const env = childEnvironment(environmentOf(alert), true);
      const input = `${JSON.stringify(alert)}\n`;
      await run('command', way.command, { input, env }, signal);
      return;
    }
    case 'mail':
      await run('mail', [sendmail, '-i', '-t'], { input: mailOf(way.mailbox, alert) }, signal);
      return;
    case 'webhook':
      await ask('webhook', way.address, { ...postOf(JSON.stringify(alert)), signal });
  }
}

/** @param text for a failure: why; it is kept beside the ping. @throws AlertFailed, or the signal's reason */
export async function sendPing(
  address: string,
  event: PingEvent,
  text: string,
  signal: AbortSignal,
): Promise<void> {
  const end = { start: '/start', success: '', fail: '/fail' }[event];
  const url = new URL(address);
  url.pathname = `${url.pathname.replace(/\/$/, '')}${end}`;
  await ask('ping', url.href, { method: 'POST', body: text, signal });
}

async function run(
  by: string,
  argv: [string, ...string[]],
  options: { input: string; env?: NodeJS.ProcessEnv },
  signal: AbortSignal,
): Promise<void> {
  try {
    await runCommand(argv, { ...options, signal, timeoutMs: limitMs, maxOutputBytes: 64 * 1024 });
  } catch (error) {
    if (!isError(error, 'CommandFailed')) throw error;
    throw new UmlsnapError(
      'AlertFailed',
      { by, to: error.facts.command, problem: error.facts.problem },
      error,
    );
  }
}

function postOf(body: string): RequestInit {
  return { method: 'POST', body, headers: { 'content-type': 'application/json' } };
}

/** Its path may be a secret: an error names no more than the host. */
async function ask(by: string, address: string, init: RequestInit & { signal: AbortSignal }): Promise<void> {
  const failed = (problem: string, cause?: unknown) =>
    new UmlsnapError('AlertFailed', { by, to: new URL(address).host, problem }, cause);
  let response: Response;
  try {
    response = await fetch(address, {
      ...init,
      signal: AbortSignal.any([init.signal, AbortSignal.timeout(limitMs)]),
    });
    await response.body?.cancel();
  } catch (error) {
    init.signal.throwIfAborted();
    const problem = problemOf((error as { cause?: unknown }).cause ?? error);
    throw failed(problem.replaceAll(address, 'its address'), error);
  }
  if (!response.ok) throw failed(`it answered ${response.status}`);
}

function environmentOf({ kind, guest, job, subject }: Alert): Record<string, string> {
  return {
    UMLSNAP_ALERT: kind,
    UMLSNAP_SUBJECT: subject,
    ...(guest !== null && { UMLSNAP_GUEST: guest }),
    ...(job !== null && { UMLSNAP_JOB: job }),
  };
}

/** RFC 5322, with RFC 2047 for a subject that is not ASCII. Nothing in it can begin another header. */
export function mailOf(mailbox: string, { kind, subject, text, guest, job, at }: Alert): string {
  const line = subject.replace(/\p{Cc}+/gu, ' ').slice(0, 200);
  const isAscii = /^[\x20-\x7e]*$/.test(line);
  const encoded = isAscii ? line : `=?UTF-8?B?${Buffer.from(line).toString('base64')}?=`;
  return [
    `To: ${mailbox}`,
    `Subject: ${encoded}`,
    'Auto-Submitted: auto-generated',
    'MIME-Version: 1.0',
    'Content-Type: text/plain; charset=utf-8',
    'Content-Transfer-Encoding: 8bit',
    `X-Umlsnap-Alert: ${kind}`,
    '',
    text,
    '',
    [guest === null ? [] : `guest ${guest}`, job === null ? [] : `job ${job}`, at].flat().join(', '),
    '',
  ].join('\n');
}
