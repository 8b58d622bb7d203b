import { systemClock } from '../clock.js';
import type { Config } from '../config/config.js';
import { ControlClient } from '../control/control-client.js';
import { daemonLock, pidOfDaemon } from '../control/daemon-lock.js';
import type { RefusedReload } from '../control/daemon-status.js';
import { type GuestStatus, guestStatus } from '../daemon/guest-status.js';
import { explainError } from '../error-text.js';
import { isError, UmlsnapError } from '../errors.js';
import { type ExitCode, exitCodes } from '../exit-codes.js';
import type { SqliteHistory } from '../history/sqlite-history.js';
import { holderOf } from '../locks/exclusive-lock.js';
import { emit, type Output, printRows, tell, warn } from '../output.js';
import { withStartedHistoryIfAny } from '../start.js';
import { type Context, configOf } from './context.js';
import { daemonWithOldConfig, refusalText } from './daemon-with-old-config.js';
import { agentText, formatAge, formatTime } from './format.js';
import { statusFromDaemon, takeGuest } from './status-from-daemon.js';
import { newRequestId } from './through-daemon.js';

/** `umlsnap status`: the daemon and every guest of the config, now. */
export async function statusVerb(context: Context): Promise<ExitCode> {
  let config: Config;
  try {
    config = await configOf(context);
  } catch (error) {
    if (!isError(error, 'ConfigInvalid')) throw error;
    return await statusWithOldConfig(context, error);
  }
  return await withStartedHistoryIfAny(config, async (history) => {
    const isUsable = !(history instanceof UmlsnapError);
    if (!isUsable) warn(`warning: ${explainError(history)}`);
    await showDaemon(context, config);
    const guests = (await statusFromDaemon(config)) ?? (await statusOfAll(config, isUsable ? history : null));
    showGuests(context, guests);
    return isUsable ? exitCodes.done : exitCodes.warnings;
  });
}

/** By a daemon that runs on with a config that was good. */
async function statusWithOldConfig(
  { output, ...context }: Context,
  error: UmlsnapError<'ConfigInvalid'>,
): Promise<ExitCode> {
  const { client, status } = await daemonWithOldConfig(error);
  const { pid, state, refusedReload } = status;
  tellDaemon(output, { isRunning: true, pid, state, refusedReload });
  const guests: GuestStatus[] = [];
  await client.request({ type: 'status', text: '', id: newRequestId() }, (object) =>
    takeGuest(object, guests),
  );
  showGuests({ output, ...context }, guests);
  return exitCodes.warnings;
}

function showGuests(context: Context, guests: GuestStatus[]): void {
  if (context.output.json) for (const guest of guests) emit(context.output, { type: 'guest', ...guest });
  else if (guests.length === 0) tell(context.output, 'The config has no guests.');
  else print(context, guests);
}

async function showDaemon({ output }: Context, { state }: Config): Promise<void> {
  const holder = await holderOf(daemonLock(state));
  const isRunning = holder !== undefined;
  const refusedReload = isRunning ? await refusedBy(new ControlClient(state)) : null;
  tellDaemon(output, { isRunning, pid: pidOfDaemon(holder), state, refusedReload });
}

/** One that does not answer has nothing to say of it. */
async function refusedBy(client: ControlClient): Promise<RefusedReload | null> {
  try {
    return (await client.status()).refusedReload ?? null;
  } catch (error) {
    if (error instanceof UmlsnapError) return null;
    throw error;
  }
}

interface ShownDaemon {
  isRunning: boolean;
  pid: number | null;
  state: string;
  refusedReload: RefusedReload | null;
}

function tellDaemon(output: Output, daemon: ShownDaemon): void {
  emit(output, { type: 'daemon', ...daemon });
  const words = daemon.isRunning ? `runs${daemon.pid === null ? '' : `, pid ${daemon.pid}`}` : 'does not run';
  tell(output, `The daemon ${words}. State in ${daemon.state}.`);
  if (daemon.refusedReload) tell(output, refusalText(daemon.refusedReload));
}

function statusOfAll(config: Config, history: SqliteHistory | null): Promise<GuestStatus[]> {
  const now = systemClock.now();
  const deps = { config, history, source: null };
  return Promise.all(Object.values(config.guests).map((guest) => guestStatus(guest, deps, now)));
}

const stateText: Record<GuestStatus['state'], string> = {
  running: 'running',
  stopped: 'stopped',
  notRunning: 'not running',
  unreachable: 'unreachable',
  unknown: 'answers',
};

function print(context: Context, guests: GuestStatus[]): void {
  printRows(context.output, guests, {
    guest: ({ guest }) => guest,
    state: ({ state, pausedByJob }) =>
      state === 'stopped' && pausedByJob !== null ? `stopped by ${pausedByJob}` : stateText[state],
    pid: ({ pid }) => String(pid ?? '-'),
    agent: ({ agent }) => agentText(agent),
    'last good snapshot': ({ lastSnapshot }) => lastSnapshot?.snapshot ?? '-',
    age: ({ lastSnapshot }) => formatAge(lastSnapshot?.ageSeconds),
    level: ({ lastSnapshot }) => lastSnapshot?.consistency ?? '-',
    'last backup': ({ lastBackup }) => lastBackup?.status ?? '-',
    'next run (local time)': ({ nextRun }) => (nextRun?.isOverdue ? 'overdue' : formatTime(nextRun?.at)),
  });
  for (const { guest, problem, unsound } of guests) {
    if (problem) tell(context.output, `${guest}: ${problem.message}`);
    for (const { snapshot, store, soundness } of unsound)
      tell(
        context.output,
        `${snapshot} in store ${store} is not sound: ${soundness.why}. Look with \`umlsnap show ${snapshot}\`.`,
      );
  }
}
