import type { RunningCli } from './cli.js';
import type { MconsoleProxy } from './mconsole-proxy.js';

/** What a job asks first inside its pause, and asks only once. */
const askedInside = 'proc vmstat';

/**
 * Starts a command and holds its job inside the pause, the guest stopped, until `resumeHeld`. Not by `go`, which is sent
 * again and again: what piles up would reach the guest all at once.
 */
export async function startHeldInPause<T extends RunningCli>(
  proxy: MconsoleProxy,
  start: () => T,
): Promise<T> {
  await proxy.hold('stop');
  const started = start();
  await holdInPause(proxy);
  return started;
}

/** As `startHeldInPause`, once `stop` is held and something will send it. */
export async function holdInPause(proxy: MconsoleProxy): Promise<void> {
  await proxy.untilHeld('stop');
  await proxy.hold(askedInside);
  await proxy.release('stop');
  await proxy.untilHeld(askedInside);
}

export async function resumeHeld(proxy: MconsoleProxy): Promise<void> {
  await proxy.release(askedInside);
}

/** For the tests after one that failed. */
export async function releaseAll(proxy: MconsoleProxy): Promise<void> {
  for (const command of ['stop', askedInside]) await proxy.release(command);
}
