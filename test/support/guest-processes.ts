import { readdirSync, readFileSync } from 'node:fs';
import { readProcessStat } from '../../src/process-identity.js';
import { waitFor } from './wait-for.js';

/**
 * The living processes of a session, zombies left out. A guest is started as the leader of a session of its own, so
 * these are all of its processes, also after its main one has died.
 */
export function processesOfSession(sessionId: number): number[] {
  return pids().filter((pid) => {
    const stat = readOrNothing(`/proc/${pid}/stat`);
    const [state = 'X', , , session] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return Number(session) === sessionId && !/[ZX]/.test(state);
  });
}

/** Of all processes of the machine. */
export function pids(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

/** The living child of a process that runs this program. */
export function childRunning(program: string, parent = process.pid): number | undefined {
  return pids().find((pid) => {
    const stat = readProcessStat(pid);
    const isOurs = stat?.parentPid === parent && stat.state !== 'Z';
    return isOurs && readOrNothing(`/proc/${pid}/comm`).trim() === program;
  });
}

/** The same for one in a box: bwrap is the child, and again the first process in the box. */
export function boxedRunning(program: string, parent = process.pid): number | undefined {
  const maker = childRunning('bwrap', parent);
  const first = maker && childRunning('bwrap', maker);
  return first && childRunning(program, first);
}

/** Ends every process of the session by its pid, and returns when none is left. */
export async function killSession(sessionId: number): Promise<void> {
  const noneIsLeft = () => {
    const left = processesOfSession(sessionId);
    for (const pid of left) signalIfThere(pid, 'SIGKILL');
    return left.length === 0;
  };
  const found = () => processesOfSession(sessionId).join(' ');
  await waitFor(`the processes of session ${sessionId} to end`, noneIsLeft, { found });
}

/** To a process that may have ended. */
export function signalIfThere(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** A file of /proc, of a process that may have ended. */
export function readOrNothing(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
