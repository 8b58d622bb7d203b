import type { GuestConfig } from '../src/config/config.js';
import { UmlsnapError } from '../src/errors.js';
import { withLocks } from '../src/exclusive-lock.js';
import { restoreInPlace } from '../src/restore/restore-in-place.js';
import type { RestoredDisk, RestoreSource } from '../src/restore/restore-source.js';
import { restoreToDirectory } from '../src/restore/restore-to-directory.js';
import { guestLocks } from './guest-locks.js';
import { type JobHistory, type JobSummary, recordedIfPossible } from './recorded-job.js';

export type RestoreTarget =
  | { to: 'directory'; directory: string }
  | { to: 'place'; config: GuestConfig; keepReplaced: boolean };

export interface RestoreOrder {
  source: RestoreSource;
  target: RestoreTarget;
  storePath: string;
  stateDirectory: string;
  signal: AbortSignal;
}

/**
 * Brings a snapshot's disks back, into a directory or in the place of the guest's own:
 * 1. in place: nobody else works on the guest or its disks;
 * 2. the job stands in the history, if there is one;
 * 3. every disk is copied, verified and durable before the first one gets its name.
 * @param history an error in its place says why there is none
 * @throws Busy; any other failure is in the summary
 */
export async function restore(order: RestoreOrder, history: JobHistory | UmlsnapError): Promise<JobSummary> {
  const { source, target, signal } = order;
  const { snapshot, guest } = source.manifest;
  const work = () =>
    recordedIfPossible(history, { kind: 'restore', guest, trigger: 'manual' }, async (run) => {
      run.facts = { snapshot };
      run.facts.disks = await bringBack(order);
    });
  if (target.to === 'directory') return await work();
  const locks = await guestLocks(target.config, [order.storePath], order.stateDirectory);
  return await withLocks({ ...locks, wait: false, signal }, work);
}

async function bringBack({ source, target, signal }: RestoreOrder): Promise<RestoredDisk[]> {
  if (target.to === 'directory') return await restoreToDirectory(source, target.directory, { signal });
  const targets = source.manifest.disks.map(({ device }) => {
    const disk = target.config.disks.find((configured) => configured.device === device);
    if (!disk) {
      const problem = `The config has no ${device} for guest ${target.config.name}: restore with --to DIR.`;
      throw new UmlsnapError('Usage', { problem });
    }
    return { device, path: disk.path, ...(disk.backing !== undefined && { backingPath: disk.backing }) };
  });
  return await restoreInPlace(source, targets, {
    signal,
    keepReplaced: target.keepReplaced,
    now: new Date(),
  });
}
