import type { Config } from '../config/config.js';
import { ControlClient, errorIn } from '../control/control-client.js';
import type { DaemonStatus } from '../control/daemon-status.js';
import type { RequestBody } from '../control/request-body.js';
import { formatSettings, parseSettings } from '../control/settings.js';
import { isError, UmlsnapError } from '../errors.js';
import { type ExitCode, exitCodes } from '../exit-codes.js';
import { printableJson } from '../mconsole/printable.js';
import { emit, reportError, tell, warn } from '../output.js';
import { type Context, configOf } from './context.js';
import { daemonWithOldConfig, refusalText } from './daemon-with-old-config.js';
import { withInterrupt } from './interrupt.js';
import { newRequestId } from './through-daemon.js';

/**
 * `umlsnap ctl [debug|nodebug] [keep|nokeep] [delay=SECONDS] [type=NUMBER]`: a daemon's settings, as kdstat has them, and
 * what it is at work on. `umlsnap ctl request TYPE [TEXT]` asks it for something, as kdsend does. `umlsnap ctl dashboard` prints
 * a link that logs a browser in, and `… dashboard token` what Prometheus shows.
 */
export async function ctlVerb(
  context: Context,
  words: string[],
  options: { answer?: boolean },
): Promise<ExitCode> {
  const [first, ...rest] = words;
  const isRequest = first === 'request';
  if (first === 'dashboard') return await dashboardLogin(context, rest);
  const changes = isRequest ? {} : parseSettings(words);
  const { client } = await askable(context);
  if (isRequest) return await sendRequest(context, client, rest, options.answer ?? true);
  if (words.length > 0) await client.changeSettings(changes);
  show(context, await client.status());
  return exitCodes.done;
}

/** Also where the config has been broken since the daemon has read it. */
async function askable(context: Context): Promise<{ client: ControlClient; config?: Config }> {
  try {
    const config = await configOf(context);
    return { client: new ControlClient(config.state), config };
  } catch (error) {
    if (!isError(error, 'ConfigInvalid')) throw error;
    return await daemonWithOldConfig(error);
  }
}

function show({ output }: Context, status: DaemonStatus): void {
  emit(output, status);
  const { pid, settings, jobs, requests, refusedReload } = status;
  tell(output, `pid=${pid}, ${formatSettings(settings)}`);
  if (refusedReload) tell(output, refusalText(refusedReload));
  for (const { job, kind, guest, trigger } of jobs)
    tell(output, `job ${job}: ${kind} of ${guest ?? '-'} (${trigger})`);
  for (const { id, type, requester, job } of requests) {
    const who = requester.from === 'guest' ? `guest ${requester.guest}` : `pid ${requester.pid ?? '?'}`;
    tell(output, `request ${id}: ${type} from ${who}${job === null ? '' : `, job ${job}`}`);
  }
  if (jobs.length + requests.length === 0) tell(output, 'no jobs');
}

async function dashboardLogin(context: Context, words: string[]): Promise<ExitCode> {
  const [word, ...more] = words;
  if (more.length > 0 || (word !== undefined && word !== 'token'))
    throw new UmlsnapError('Usage', { problem: 'dashboard: nothing, or the word token.' });
  const { client, config } = await askable(context);
  if (config?.dashboard === null)
    throw new UmlsnapError('Usage', { problem: 'the config says dashboard: false.' });
  const login = await client.dashboardLogin();
  emit(context.output, { type: 'dashboard', ...login });
  tell(context.output, word === 'token' ? login.scrapeToken : login.loginUrl);
  return exitCodes.done;
}

async function sendRequest(
  context: Context,
  client: ControlClient,
  [type, ...text]: string[],
  isAnswerWanted: boolean,
): Promise<ExitCode> {
  if (type === undefined) throw new UmlsnapError('Usage', { problem: 'request: which TYPE?' });
  const number = /^\d{1,9}$/.test(type) ? Number(type) : type;
  const body: RequestBody = { type: number, text: text.join(' '), id: isAnswerWanted ? newRequestId() : 0 };
  if (!isAnswerWanted) {
    await client.requestWithoutAnswer(body);
    return exitCodes.done;
  }
  return await withInterrupt(async (signal) => {
    const { status, cut } = await client.request(body, (object) => print(context, object), signal);
    if (cut) warn('warning: the daemon had more to tell than fits into an answer');
    tell(context.output, `status ${status}`);
    return status;
  });
}

/** Every object is shown as it is: this is what one looks with when the verbs themselves are in doubt. */
function print(context: Context, object: Record<string, unknown>): void {
  if (object.type === 'error') reportError(context.output, errorIn(object));
  else if (context.output.json) emit(context.output, object);
  else tell(context.output, printableJson(object));
}
