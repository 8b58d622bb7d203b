import { onTestFinished } from 'vitest';
import { captureChild } from '../capture/traced.js';
import type { RunningCli } from './cli.js';
import { signalIfThere } from './guest-processes.js';
import type { MconsoleProxy } from './mconsole-proxy.js';
import { type Commands, resultOf, type Scene, type SnapshotResult } from './scene.js';

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
 * Lets a held job go on into its capture, and holds it there for half of its budget: the guest is paused, drained, and copied, and what
 * is asked about it is not answered until `letCapture`. Only of a job that `capturesAtOnce`, or whose capture is traced.
 */
export async function letGoIntoCapture(job: HeldJob, proxy: MconsoleProxy): Promise<void> {
  await proxy.hold('stop');
  await job.letGo();
  await untilInCapture(job.cli, proxy);
}

/** From a stop that is held. The guest is asked the same while it runs: so not before. */
async function untilInCapture(job: RunningCli, proxy: MconsoleProxy): Promise<void> {
  await unlessEnded(job, proxy.untilHeld('stop'));
  await proxy.hold(lastQuestion, 'answer');
  await proxy.release('stop');
  await unlessEnded(job, proxy.untilHeld(lastQuestion, 'answer'));
}

const lastQuestion = 'proc diskstats';

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

/** A job that `capturesAtOnce`, held in the capture of its pause as `letGoIntoCapture` does. */
export async function startHeldInCapture(proxy: MconsoleProxy, start: () => RunningCli): Promise<RunningCli> {
  await proxy.hold('stop');
  const job = start();
  await untilInCapture(job, proxy);
  return job;
}

export const letCapture = (proxy: MconsoleProxy): Promise<void> => proxy.release(lastQuestion);

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
