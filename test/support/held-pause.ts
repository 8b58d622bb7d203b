import type { RunningCli } from './cli.js';
import type { MconsoleProxy } from './mconsole-proxy.js';

/**
 * A job that is held at its stop: the guest stands still, and the job waits for the answer until `resumeHeld`, as long as
 * its budget allows. Not held by its `go`, which is sent again and again: what piles up would reach the guest at once.
 */
export async function startHeldInPause(proxy: MconsoleProxy, start: () => RunningCli): Promise<RunningCli> {
  await holdNextPause(proxy);
  const started = start();
  await untilHeldInPause(proxy);
  return started;
}

/** For a job that somebody else starts. */
export async function holdNextPause(proxy: MconsoleProxy): Promise<void> {
  await proxy.hold('stop', 'answer');
}

export async function untilHeldInPause(proxy: MconsoleProxy): Promise<void> {
  await proxy.untilHeld('stop', 'answer');
}

export async function resumeHeld(proxy: MconsoleProxy): Promise<void> {
  await proxy.release('stop');
}
