import { readlink } from 'node:fs/promises';
import { onTestFinished } from 'vitest';
import { captureChild, captureChildrenOf } from '../capture/traced.js';
import type { RunningCli } from './cli.js';
import { signalIfThere } from './guest-processes.js';
import type { MconsoleProxy } from './mconsole-proxy.js';
import { runTool } from './run-tool.js';
import { type Commands, resultOf, type Scene, type SnapshotResult } from './scene.js';
import { waitFor } from './wait-for.js';

export type HeldJob = Awaited<ReturnType<typeof startHeld>>;

/**
 * Starts a snapshot of the scene's guest and holds it before its first sync, so that a fault can be laid where it will meet the
 * pause: its capture is armed, and nothing is stopped yet.
 */
export async function startHeld(scene: Scene, options: string[] = [], commands: Commands = scene) {
  const { proxy } = scene;
  await proxy.hold('sysrq s');
  const cli = commands.startSnapshot(...options);
  await unlessEnded(cli, proxy.untilHeld('sysrq s'));
  const [incoming = ''] = await scene.incomings();
  // However long the fault takes to be laid, the answer then comes to one that was away and not to one that has given it up.
  process.kill(cli.pid, 'SIGSTOP');
  onTestFinished(() => signalIfThere(cli.pid, 'SIGCONT'));
  const letGo = async () => {
    const seen = (await proxy.events()).length;
    await proxy.release('sysrq s');
    await proxy.untilAnswered('sysrq s', seen);
    process.kill(cli.pid, 'SIGCONT');
  };
  return {
    ...{ cli, letGo, captureChild: captureChild(cli.pid) },
    /** The directory of the snapshot in the making. */
    incoming: `${scene.store}/${incoming}`,
    /** Lets it go, to its end. */
    end: async () => {
      await letGo();
      return resultOf(await cli.exited);
    },
  };
}

/**
 * Lets a held job go on until it wants its guest to go, and runs `use` meanwhile: the guest stands still, and its capture has been
 * called good. The proxy loses every `go` until `use` has ended, and none after it.
 */
export async function beforeGo<T>(
  job: HeldJob,
  proxy: MconsoleProxy,
  use: () => Promise<T>,
): Promise<{ result: SnapshotResult; used: T }> {
  const seen = (await proxy.events()).length;
  // Before the job is let go on: beside it, a `go` may slip through.
  await proxy.drop('go', 10_000, 'request');
  const ended = job.end();
  ended.catch(() => {}); // until it is looked at
  const used = await proxy
    .untilSeen('go', 'request', seen)
    .then(use)
    .finally(() => proxy.release('go'));
  return { result: await ended, used };
}

/**
 * Lets a held job go on into its capture, and holds it there as long as its budget allows: the copier has its word, and stands
 * still before it hears it. The guest is paused and drained, and nothing of it is copied.
 */
export async function letGoIntoCapture(job: HeldJob): Promise<void> {
  process.kill(job.captureChild, 'SIGSTOP');
  await job.letGo();
  await untilOrdered(job.cli, job.captureChild);
}

/** Waits until the order to capture lies in the channel of a capture child that stands still. */
async function untilOrdered(job: RunningCli, child: number): Promise<void> {
  const channel = /\d+/.exec(await readlink(`/proc/${child}/fd/3`))?.[0];
  const isUnread = async () => {
    const sockets = (await runTool('ss', ['-H', '-x', '-a'])).toString().split('\n');
    const fields = sockets.map((line) => line.trim().split(/\s+/));
    return Number(fields.find((field) => field[5] === channel)?.[2]) > 0;
  };
  await unlessEnded(job, waitFor('the order to capture', isUnread));
}

/**
 * A job that is held at its stop: the guest stands still, and the job waits for the answer until `resumeHeld`, as long as
 * its budget allows. Not held by its `go`, which is sent again and again: what piles up would reach the guest at once.
 */
export async function startHeldInPause(proxy: MconsoleProxy, start: () => RunningCli): Promise<RunningCli> {
  await holdNextPause(proxy);
  const started = start();
  await unlessEnded(started, untilHeldInPause(proxy));
  return started;
}

/** For a job that somebody else starts. */
export const holdNextPause = (proxy: MconsoleProxy): Promise<void> => proxy.hold('stop', 'answer');
export const untilHeldInPause = (proxy: MconsoleProxy): Promise<void> => proxy.untilHeld('stop', 'answer');
export const resumeHeld = (proxy: MconsoleProxy): Promise<void> => proxy.release('stop');

/**
 * A job that `capturesAtOnce`, held in the capture of its pause as long as its budget allows: its capture child stands still, and
 * dies of SIGKILL all the same. Not held by what the guest is asked in a pause: after a second it counts as silent.
 */
export async function startHeldInCapture(proxy: MconsoleProxy, start: () => RunningCli): Promise<RunningCli> {
  await proxy.hold('stop');
  const job = start();
  await unlessEnded(job, proxy.untilHeld('stop'));
  const child = captureChild(job.pid);
  process.kill(child, 'SIGSTOP');
  await proxy.release('stop');
  await untilOrdered(job, child);
  return job;
}

export function letCapture(job: RunningCli): void {
  for (const pid of captureChildrenOf(job.pid)) process.kill(pid, 'SIGCONT');
}

/** A job that ends before it comes to where it is to be held says why. */
function unlessEnded<T>(job: RunningCli, held: Promise<T>): Promise<T> {
  const ended = job.exited.then(({ stdout, stderr }) => {
    throw new Error(`the job has ended before it could be held: ${stderr}${stdout.slice(-500)}`);
  });
  return Promise.race([held, ended]);
}

/** Kills a job in its pause, its guardian with it: the guest stands still, and nobody is there to resume it. */
export async function killInPause(scene: Scene, ...options: string[]): Promise<void> {
  const cli = await startHeldInPause(scene.proxy, () => scene.startSnapshot(...options));
  scene.killCommands();
  await cli.exited;
  await resumeHeld(scene.proxy);
}
