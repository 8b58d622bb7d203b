import { lstat, stat } from 'node:fs/promises';
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

/**
 * Whether a guest of the config is halted: the place of its console is empty, its disks are there, and no process has them open. A
 * panic, a kill or the end of the host leaves a dead socket there, a halt does not (uml-facts §6). What can't be looked at is no halt.
 */
export async function isHalted(config: GuestConfig): Promise<boolean> {
  try {
    const { problem } = await sightingOf(config);
    if (problem?.code !== 'NoMconsoleSocket') return false;
    return (await holderOfDisks(config)) === null && (await areThere(config));
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

async function areThere({ disks }: GuestConfig): Promise<boolean> {
  try {
    const found = await Promise.all(disks.map(({ path }) => lstat(path)));
    return found.every((one) => one.isFile());
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    return false;
  }
}
