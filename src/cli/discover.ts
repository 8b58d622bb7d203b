import { readFileSync } from 'node:fs';
import type { Config } from '../config/config.js';
import { lookForAgent } from '../doctor/look-for-agent.js';
import { countText, explainError } from '../error-text.js';
import { isError } from '../errors.js';
import { type ExitCode, exitCodes } from '../exit-codes.js';
import { type DiscoveredGuest, discoverGuests } from '../guest/discover.js';
import type { GuestActivity } from '../guest/look-at-guest.js';
import { printRows, tell, warn } from '../output.js';
import { type Context, configIfAny } from './context.js';
import { agentText } from './format.js';
import { statusFromDaemon } from './status-from-daemon.js';

/** `umlsnap discover`: every UML of this host. Needs no config; one that is wrong only costs the guests' names. */
export async function discoverVerb(context: Context): Promise<ExitCode> {
  const config = await configOrWarning(context);
  const configured = config === 'invalid' ? [] : Object.values(config?.guests ?? {});
  const { guests, leftOut } = await discoverGuests(configured);
  const users = userNames();
  const agents = await agentsOf(config === 'invalid' ? undefined : config, guests);
  const rows = guests.map((guest) => ({
    ...guest,
    agent: agents.get(guest) ?? null,
    user: guest.uid === null ? null : (users.get(guest.uid) ?? String(guest.uid)),
  }));
  if (rows.length === 0) tell(context.output, 'No UML was found.');
  else print(context, rows);
  if (leftOut > 0)
    warn(
      `warning: ${countText(leftOut, 'more socket was', 'more sockets were')} not looked at: there are too many.`,
    );
  return config === 'invalid' || leftOut > 0 ? exitCodes.warnings : exitCodes.done;
}

type Row = DiscoveredGuest & { user: string | null; agent: boolean | null };

/** Whether an agent of ours answers, in those of the config: of others we would not hear the answer. */
async function agentsOf(
  config: Config | undefined,
  guests: DiscoveredGuest[],
): Promise<Map<DiscoveredGuest, boolean | null>> {
  if (!config || !guests.some(({ guest }) => guest !== null)) return new Map();
  const byDaemon = await statusFromDaemon(config);
  const looks = guests.map(async (found): Promise<[DiscoveredGuest, boolean | null]> => {
    const { guest, state, pid } = found;
    const guestConfig = guest === null ? undefined : config.guests[guest];
    if (!guestConfig || state !== 'running' || pid === null) return [found, null];
    if (byDaemon) return [found, byDaemon.find((status) => status.guest === guest)?.agent ?? null];
    const look = { config: guestConfig, stateDirectory: config.state, pid, source: null };
    return [found, await lookForAgent(look)];
  });
  return new Map(await Promise.all(looks));
}

function print(context: Context, rows: Row[]): void {
  printRows(context.output, rows, {
    umid: (row) => row.umid,
    guest: (row) => row.guest ?? '-',
    state: (row) => stateText[row.state],
    kernel: (row) => shortKernel(row.kernel),
    pid: (row) => String(row.pid ?? '-'),
    user: (row) => row.user ?? '-',
    agent: (row) => agentText(row.agent),
    disks: disksOf,
    socket: (row) => row.socketPath,
  });
  for (const { umid, problem } of rows) if (problem) tell(context.output, `${umid}: ${problem.message}`);
}

/** What people read for each of them. */
const stateText: Record<GuestActivity, string> = {
  running: 'running',
  stopped: 'stopped',
  unknown: 'answers',
  notAnswering: 'not answering',
};

/** Of `Linux NODE RELEASE VERSION MACHINE` the release; of anything else, whatever it says. */
function shortKernel(kernel: string | null): string {
  if (kernel === null) return '-';
  return (/^Linux \S+ (\S+) /.exec(kernel)?.[1] ?? kernel).slice(0, 40);
}

/** As the guest says; of one that says nothing, what its process has locked. */
function disksOf({ disks, lockedFiles }: Row): string {
  if (disks.length === 0) return lockedFiles.map(({ path }) => path).join('\n') || '-';
  return disks
    .map(({ device, path, backing }) => `${device}=${[path, backing].filter(Boolean).join(',')}`)
    .join('\n');
}

async function configOrWarning(context: Context): Promise<Config | 'invalid' | undefined> {
  try {
    return await configIfAny(context);
  } catch (error) {
    if (!isError(error, 'ConfigInvalid')) throw error;
    warn(`warning: ${explainError(error)}`);
    return 'invalid';
  }
}

/** The names that this host itself has for its users. */
function userNames(): Map<number, string> {
  const fields = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .map((line) => line.split(':'));
  return new Map(
    fields
      .filter(([, , uid]) => uid !== undefined)
      .map(([name = '', , uid]) => [Number(uid), name])
      .reverse() as [number, string][],
  );
}
