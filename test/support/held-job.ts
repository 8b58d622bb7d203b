import { captureChildrenOf } from '../capture/traced.js';
import type { RunningCli } from './cli.js';
import type { MconsoleProxy } from './mconsole-proxy.js';
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
  const [captureChild = -1] = captureChildrenOf(cli.pid);
  const [incoming = ''] = await scene.incomings();
  const letGo = () => proxy.release('sysrq s');
  return {
    ...{ cli, captureChild, letGo },
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
  const wanted = async () => (await proxy.events()).slice(seen).some(({ command }) => command === 'go');
  const used = await waitFor('a go', wanted, { everyMs: 5 })
    .then(use)
    .finally(() => proxy.release('go'));
  return { result: await ended, used };
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
 * A job that is held in its pause after it has heard that its guest is stopped: in its sync, whose `sysrq s` is on the way until
 * `proxy.release('sysrq s')`.
 */
export async function startHeldInSync(proxy: MconsoleProxy, start: () => RunningCli): Promise<RunningCli> {
  await proxy.hold('stop');
  const started = start();
  await unlessEnded(started, proxy.untilHeld('stop'));
  // Only now: the syncs before the stop are over.
  await proxy.hold('sysrq s');
  await proxy.release('stop');
  await unlessEnded(started, proxy.untilHeld('sysrq s'));
  return started;
}

/** A job that ends before it comes to where it is to be held says why. */
function unlessEnded(job: RunningCli, held: Promise<void>): Promise<void> {
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
