import { isError, UmlsnapError } from '../errors.js';
import type { SentRequest } from './blocking-console.js';
import type { RequestOptions } from './mconsole-client.js';
import { printableLine } from './printable.js';

/** What the commands need of a client. All of them throw what `MconsoleClient.request` throws. */
export interface Requester {
  request(command: string, options: RequestOptions): Promise<string>;
}

export type StopResult = 'stopped' | 'alreadyStopped';
export type GoResult = 'resumed' | 'notStopped';

/** `Linux <node> <release> <version> <machine>`. Answers while stopped, so it proves nothing about running. */
export function version(client: Requester, options: RequestOptions): Promise<string> {
  return client.request('version', options);
}

export function help(client: Requester, options: RequestOptions): Promise<string> {
  return client.request('help', options);
}

/** Stops the guest. Without an answer it stays outstanding and may take effect later (uml-facts, fact 4). */
export function stop(client: Requester, options: RequestOptions): Promise<StopResult> {
  return readStopAnswer(client.request('stop', options));
}

/** Resumes the guest. While a `stop` is outstanding, `notStopped` is no proof that the guest runs on. */
export function go(client: Requester, options: RequestOptions): Promise<GoResult> {
  return readGoAnswer(client.request('go', options));
}

/**
 * What the answer to `stop` means; for an answer that comes by `MconsoleClient.ask`.
 * @throws CommandRefused, with err 0 for a text that no UML answers
 */
export function readStopAnswer(answered: Promise<string>): Promise<StopResult> {
  // The empty text is what kernels before 2.6.19 answer.
  return readAnswer('stop', answered, { success: ['stopped', ''], refusal: 'Already stopped' }).then(
    (isSuccess) => (isSuccess ? 'stopped' : 'alreadyStopped'),
  );
}

/** What the answer to `go` means, like `readStopAnswer`. */
export function readGoAnswer(answered: Promise<string>): Promise<GoResult> {
  return readAnswer('go', answered, { success: [''], refusal: 'Not stopped' }).then((isSuccess) =>
    isSuccess ? 'resumed' : 'notStopped',
  );
}

/** True for success, false for the refusal that is a state of the guest and not a failure. */
async function readAnswer(
  command: string,
  answered: Promise<string>,
  texts: { success: string[]; refusal: string },
): Promise<boolean> {
  let text: string;
  try {
    text = await answered;
  } catch (error) {
    if (isError(error, 'CommandRefused') && error.facts.text === texts.refusal) return false;
    throw error;
  }
  if (texts.success.includes(text)) return true;
  throw new UmlsnapError('CommandRefused', { command, err: 0, text: printableLine(text) });
}

/** Ends the guest at once, without a sync. */
export async function halt(client: Requester, options: RequestOptions): Promise<void> {
  await client.request('halt', options);
}

/** Reboots the guest at once; it keeps its pid and the path of its socket, but not the socket. */
export async function reboot(client: Requester, options: RequestOptions): Promise<void> {
  await client.request('reboot', options);
}

/** Ctrl-Alt-Del to the guest's init; of a stopped guest, after `go`. */
export async function cad(client: Requester, options: RequestOptions): Promise<void> {
  await client.request('cad', options);
}

/** Writes a line to the guest's kernel log. Without its newline it would leak into the next answer to `sysrq`. */
export async function log(client: Requester, text: string, options: RequestOptions): Promise<void> {
  await client.request(`log ${text.endsWith('\n') ? text : `${text}\n`}`, options);
}

/**
 * Presses a SysRq key and returns what the kernel said to it. An answer is no proof that anything was done: it may be
 * disabled, and of a stopped guest all work waits for `go` (uml-facts, facts 1 and 8).
 * @throws Usage for what is no key
 */
export async function sysrq(client: Requester, key: string, options: RequestOptions): Promise<string> {
  if (!/^[a-z0-9]$/.test(key))
    throw new UmlsnapError('Usage', { problem: `no SysRq key: ${JSON.stringify(key)}` });
  return client.request(`sysrq ${key}`, options);
}

/** Files of /proc that end, and that may be read from a stopped guest. `kcore` never ends (uml-facts §2). */
export const procFiles = [
  '1/mountinfo',
  'cmdline',
  'cpuinfo',
  'diskstats',
  'filesystems',
  'loadavg',
  'meminfo',
  'mounts',
  'partitions',
  'stat',
  'sys/kernel/random/boot_id',
  'sys/kernel/sysrq',
  'uptime',
  'version',
  'vmstat',
] as const;
export type ProcFile = (typeof procFiles)[number];

/** The content of a file in the guest's /proc, of at most 64 KiB. */
export async function proc(client: Requester, file: ProcFile, options: RequestOptions): Promise<string> {
  const text = await client.request(`proc ${file}`, options);
  // The kernel begins the answer with a newline of its own.
  return text.startsWith('\n') ? text.slice(1) : text;
}

/**
 * What a request that was sent by a `BlockingConsole` was answered.
 * @param waitedMs for the error
 * @throws GuestNotAnswering, CommandRefused, ReplyMalformed, GuestSocketDead
 */
export function textOfAnswer(socketPath: string, { command, answer }: SentRequest, waitedMs: number): string {
  switch (answer?.type) {
    case 'ok':
      return answer.text.startsWith('\n') ? answer.text.slice(1) : answer.text;
    case 'refused':
      throw new UmlsnapError('CommandRefused', { command, err: answer.err, text: answer.text });
    case 'malformed':
      throw new UmlsnapError('ReplyMalformed', { socketPath, command, problem: answer.problem });
    case 'dead':
      throw new UmlsnapError('GuestSocketDead', { socketPath, command });
    default:
      throw new UmlsnapError('GuestNotAnswering', { socketPath, command, waitedMs: Math.round(waitedMs) });
  }
}

/** A device's setting, `''` when unset: of a ubd the path as typed, or `cow,backing`. Untrusted. */
export async function queryConfig(
  client: Requester,
  device: string,
  options: RequestOptions,
): Promise<string> {
  return client.request(`config ${checkedDevice(device)}`, options);
}

/** Configures a device. MUST NOT be sent to a stopped guest: it would run again (uml-facts, fact 6). */
export async function setConfig(
  client: Requester,
  device: string,
  value: string,
  options: RequestOptions,
): Promise<void> {
  await client.request(`config ${checkedDevice(device)}=${value}`, options);
}

/** Removes a device. MUST NOT be sent to a stopped guest, like `setConfig`. */
export async function removeDevice(
  client: Requester,
  device: string,
  options: RequestOptions,
): Promise<void> {
  await client.request(`remove ${checkedDevice(device)}`, options);
}

/** The stack of a process in the guest; broken on 6.1, works on 7.2. */
export async function stack(client: Requester, pid: number, options: RequestOptions): Promise<string> {
  return client.request(`stack ${pid}`, options);
}

/** A `=` in a device's name would turn a query into a change. */
function checkedDevice(device: string): string {
  if (/^[a-z]+[0-9]*[a-z]*$/.test(device)) return device;
  throw new UmlsnapError('Usage', { problem: `no mconsole device: ${JSON.stringify(device)}` });
}
