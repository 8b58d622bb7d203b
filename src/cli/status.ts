import { type GuestStatus, guestStatus } from '../../jobs/guest-status.js';
import { systemClock } from '../clock.js';
import type { Config } from '../config/config.js';
import { explainError } from '../error-text.js';
import { UmlsnapError } from '../errors.js';
import { type ExitCode, exitCodes } from '../exit-codes.js';
import type { SqliteHistory } from '../history/sqlite-history.js';
import { holderOf } from '../locks/exclusive-lock.js';
import { type Context, configOf } from './context.js';
import { daemonLock } from '../control/daemon-lock.js';
import { daemonLock, pidOfDaemon } from './daemon-lock.js';
import { agentText, formatAge, formatTime } from './format.js';
import { emit, printRows, tell, warn } from './output.js';
import { withStartedHistoryIfAny } from './start.js';
import { statusByDaemon } from './status-by-daemon.js';

/** `umlsnap status`: the daemon and every guest of the config, now. */
export async function statusVerb(context: Context): Promise<ExitCode> {
  const config = await configOf(context);
  return await withStartedHistoryIfAny(config, async (history) => {
    const isUsable = !(history instanceof UmlsnapError);
    if (!isUsable) warn(`warning: ${explainError(history)}`);
    await showDaemon(context, config);
    const guests = (await statusByDaemon(config)) ?? (await statusOfAll(config, isUsable ? history : null));
    if (context.output.json) for (const guest of guests) emit(context.output, { type: 'guest', ...guest });
    else if (guests.length === 0) tell(context.output, 'The config has no guests.');
    else print(context, guests);
    return isUsable ? exitCodes.done : exitCodes.warnings;
  });
}

async function showDaemon({ output }: Context, config: Config): Promise<void> {
  const holder = await holderOf(daemonLock(config.state));
  const daemon = { isRunning: holder !== undefined, pid: pidOfDaemon(holder) };
  emit(output, { type: 'daemon', ...daemon, state: config.state });
  const words = daemon.isRunning ? `runs${daemon.pid === null ? '' : `, pid ${daemon.pid}`}` : 'does not run';
  tell(output, `The daemon ${words}. State in ${config.state}.`);
}

function statusOfAll(config: Config, history: SqliteHistory | null): Promise<GuestStatus[]> {
  const now = systemClock.now();
  const house = { stateDirectory: config.state, history, source: null };
  return Promise.all(Object.values(config.guests).map((guest) => guestStatus(guest, house, now)));
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
