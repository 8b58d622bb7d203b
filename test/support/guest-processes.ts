import { readdirSync, readFileSync } from 'node:fs';
import { waitFor } from './wait-for.js';

/**
 * The living processes of a session, zombies left out. A guest is started as the leader of a session of its own, so
 * these are all of its processes, also after its main one has died.
 */
export function processesOfSession(sessionId: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      const fields = statFields(pid);
      return (
        fields !== undefined && Number(fields[3]) === sessionId && fields[0] !== 'Z' && fields[0] !== 'X'
      );
    });
}

/** The fields of /proc/PID/stat from the state on: 0 state, 1 parent, 2 process group, 3 session. */
function statFields(pid: number): string[] | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return text.slice(text.lastIndexOf(')') + 2).split(' ');
  } catch {
    return undefined; // it ended since the directory was read
  }
}

/** Ends every process of the session by its pid, and returns when none is left. */
export async function killSession(sessionId: number): Promise<void> {
  await waitFor(
    `the processes of session ${sessionId} to end`,
    () => {
      const left = processesOfSession(sessionId);
      for (const pid of left) signalIfThere(pid, 'SIGKILL');
      return left.length === 0;
    },
    { found: () => processesOfSession(sessionId).join(' ') },
  );
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
