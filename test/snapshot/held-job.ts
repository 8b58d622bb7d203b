import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { captureChildrenOf } from '../capture/traced.js';
import type { RunningCli } from '../support/cli.js';
import type { MconsoleProxy } from '../support/mconsole-proxy.js';
import { waitFor } from '../support/wait-for.js';
import { incomingIn, resultOf, type Scene, type SnapshotResult } from './scene.js';

/** A snapshot of the scene's guest that waits before its first sync: its capture is armed, and nothing is stopped yet. */
export interface HeldJob {
  readonly cli: RunningCli;
  readonly captureChild: number;
  /** The directory of the snapshot in the making. */
  readonly incoming: string;
  letGo(): Promise<void>;
  /** Lets it go, to its end. */
  end(): Promise<SnapshotResult>;
  /** Until it has written down that it is about to stop the guest. */
  leased(): Promise<void>;
}

/** Starts a snapshot and holds it, so that a fault can be laid where it will meet the pause. */
export async function startHeld(scene: Scene, proxy: MconsoleProxy, ...options: string[]): Promise<HeldJob> {
  await proxy.hold('sysrq s');
  const cli = scene.start(['snapshot', 'debian', '--json', ...options]);
  await cli.waitForOutput(/"phase":"quiesce"/);
  const [captureChild = -1] = captureChildrenOf(cli.pid);
  const [incoming = ''] = await incomingIn(scene.store);
  const letGo = () => proxy.release('sysrq s');
  const leases = join(scene.state, 'leases');
  return {
    ...{ cli, captureChild, incoming: join(scene.store, 'debian', incoming), letGo },
    end: async () => {
      await letGo();
      return resultOf(await cli.exited);
    },
    leased: async () => {
      await waitFor('its lease', async () => (await readdir(leases)).includes('debian.json'), { everyMs: 5 });
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
  const meanwhile = async () => {
    await waitFor('a go', wanted, { everyMs: 5 });
    return await use();
  };
  const used = await meanwhile().finally(() => proxy.release('go'));
  return { result: await ended, used };
}
