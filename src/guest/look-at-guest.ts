import { basename, dirname, resolve } from 'node:path';
import { asUmlsnapError, explainError } from '../error-text.js';
import { type ErrorCode, isError } from '../errors.js';
import { queryConfig, version } from '../mconsole/commands.js';
import { MconsoleClient } from '../mconsole/mconsole-client.js';
import { printableLine } from '../mconsole/printable.js';
import type { ProcessIdentity } from '../process-identity.js';
import { effectiveUserOf } from './console-process.js';
import { type LockedFile, lockedFilesOf, workingDirectoryOf } from './process-files.js';
import { lookWhetherStopped } from './stop-probe.js';

/** `unknown`: it answers, and the host does not tell whether it stands still. */
export type GuestActivity = 'running' | 'stopped' | 'unknown' | 'notAnswering';

/** A disk as the guest says it has it. Its word only; made printable. */
export interface ReportedDisk {
  device: string;
  path: string;
  backing: string | null;
}

/** A guest as it can be seen from the host in a moment, without a config. Everything that is text of its own is printable. */
export interface GuestSighting {
  umid: string;
  socketPath: string;
  state: GuestActivity;
  /** Why it is `notAnswering`. */
  problem: { code: ErrorCode; message: string } | null;
  /** `Linux NODE RELEASE VERSION MACHINE`, in its own words. */
  kernel: string | null;
  /** Its main process: the one that listens at the socket. */
  pid: number | null;
  uid: number | null;
  disks: ReportedDisk[];
  /** What its process has locked on the host, which the guest can't lie about. */
  lockedFiles: LockedFile[];
}

export interface LookOptions {
  /** For all of its answers, whatever the guest does. */
  limitMs: number;
  /** Asks for its disks too. */
  withDisks: boolean;
}

const maxKernelChars = 200;
const maxPathChars = 4096;
const diskCount = 16;

/**
 * Looks at the guest behind a socket: asks what a stopped guest may be asked as well, and takes the rest from the host. Never
 * fails: a guest that does not answer, or answers nonsense, is described as just that.
 */
export async function lookAtGuest(
  socketPath: string,
  main: ProcessIdentity | undefined,
  options: LookOptions,
): Promise<GuestSighting> {
  const answers = await askGuest(socketPath, options);
  const state = await activityOf(answers, main);
  const cwd = main && workingDirectoryOf(main.pid);
  return {
    umid: printableLine(basename(dirname(socketPath))),
    socketPath: printableLine(socketPath),
    state,
    problem: answers.problem,
    kernel: answers.kernel,
    pid: main?.pid ?? null,
    uid: (main && effectiveUserOf(main.pid)) ?? null,
    disks: answers.disks.map(({ device, setting }) => diskOf(device, setting, cwd)),
    lockedFiles: main ? lockedFilesOf(main.pid) : [],
  };
}

interface Answers {
  kernel: string | null;
  disks: { device: string; setting: string }[];
  problem: GuestSighting['problem'];
}

async function askGuest(socketPath: string, { limitMs, withDisks }: LookOptions): Promise<Answers> {
  const answers: Answers = { kernel: null, disks: [], problem: null };
  let client: MconsoleClient | undefined;
  try {
    client = await MconsoleClient.open(socketPath);
    const deadlineMs = performance.now() + limitMs;
    const leftMs = () => Math.max(1, deadlineMs - performance.now());
    const kernel = await version(client, { timeoutMs: leftMs() });
    answers.kernel = printableLine(kernel).slice(0, maxKernelChars);
    for (let number = 0; withDisks && number < diskCount; number++) {
      const device = `ubd${number}`;
      const setting = await settingOf(client, device, leftMs());
      if (setting !== '') answers.disks.push({ device, setting });
    }
  } catch (thrown) {
    const error = asUmlsnapError(thrown);
    // What came before a guest fell silent counts.
    if (answers.kernel === null)
      answers.problem = { code: error.code, message: printableLine(explainError(error)) };
  } finally {
    client?.close();
  }
  return answers;
}

async function settingOf(client: MconsoleClient, device: string, timeoutMs: number): Promise<string> {
  try {
    return await queryConfig(client, device, { timeoutMs });
  } catch (error) {
    if (isError(error, 'CommandRefused')) return '';
    throw error;
  }
}

async function activityOf({ kernel }: Answers, main: ProcessIdentity | undefined): Promise<GuestActivity> {
  if (kernel === null) return 'notAnswering';
  return main === undefined ? 'unknown' : await lookWhetherStopped(main);
}

/** Two files are a COW disk with its backing file. Relative names count from where the guest was started (uml-facts §4). */
function diskOf(device: string, setting: string, cwd: string | undefined): ReportedDisk {
  const [path = '', backing] = setting.split(',');
  const absolute = (name: string) =>
    printableLine(cwd === undefined ? name : resolve(cwd, name)).slice(0, maxPathChars);
  return { device, path: absolute(path), backing: backing === undefined ? null : absolute(backing) };
}
