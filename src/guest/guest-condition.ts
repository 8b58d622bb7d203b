import { stat } from 'node:fs/promises';
import type { GuestConfig } from '../config/config.js';
import { asUmlsnapError, explainError } from '../error-text.js';
import { errnoOf, isError, UmlsnapError } from '../errors.js';
import { printableLine } from '../mconsole/printable.js';
import { findConsoleProcess } from './console-process.js';
import { findGuestConsole } from './guest-console.js';
import { type FileIdentity, findGuestProcesses } from './guest-processes.js';
import { type GuestSighting, lookAtGuest } from './look-at-guest.js';

/** A guest of the config as it is now. */
export interface GuestCondition {
  /**
   * `unreachable`: there is a process, or something in the place of its socket, that we can't talk to. `unknown`: it answers,
   * and the host does not tell whether it stands still.
   */
  state: 'running' | 'stopped' | 'notRunning' | 'unreachable' | 'unknown';
  kernel: string | null;
  pid: number | null;
  /** Why it is unreachable. */
  problem: GuestSighting['problem'];
}

const limitMs = 3000;

/** Looks at a guest of the config, for a bounded time. Whatever is wrong with it is the answer, and no failure. */
export async function conditionOf(config: GuestConfig): Promise<GuestCondition> {
  const sighting = await sightingOf(config);
  if ('state' in sighting && sighting.state !== 'notAnswering') {
    const { state, kernel, pid } = sighting;
    return { state, kernel, pid, problem: null };
  }
  const { problem } = sighting;
  const pid = ('pid' in sighting ? sighting.pid : null) ?? (await holderOfDisks(config));
  const isNobodyThere = problem?.code === 'NoMconsoleSocket' || problem?.code === 'GuestSocketDead';
  if (isNobodyThere && pid === null) return { state: 'notRunning', kernel: null, pid, problem: null };
  return { state: 'unreachable', kernel: null, pid, problem };
}

/** Whether nobody listens at its console, and no process has its disks open. What can't be looked at is told by its backup. */
export async function isDown(config: GuestConfig): Promise<boolean> {
  try {
    return (await conditionOf(config)).state === 'notRunning';
  } catch (error) {
    if (error instanceof UmlsnapError) return false;
    throw error;
  }
}

async function sightingOf(config: GuestConfig): Promise<GuestSighting | Pick<GuestSighting, 'problem'>> {
  try {
    const socketPath = await findGuestConsole(config);
    return await lookAtGuest(socketPath, findConsoleProcess(socketPath), { limitMs, withDisks: false });
  } catch (thrown) {
    if (!isError(thrown, 'NoMconsoleSocket')) throw thrown;
    const error = asUmlsnapError(thrown);
    return { problem: { code: error.code, message: printableLine(explainError(error)) } };
  }
}

async function holderOfDisks({ disks }: GuestConfig): Promise<number | null> {
  const files: FileIdentity[] = [];
  for (const { path } of disks) {
    try {
      files.push(await stat(path));
    } catch (error) {
      if (errnoOf(error) === undefined) throw error;
    }
  }
  return (await findGuestProcesses(files))?.main.pid ?? null;
}
