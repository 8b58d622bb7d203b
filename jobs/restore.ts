import type { GuestConfig } from '../src/config/config.js';
import type { CopyDeps } from '../src/copies/ask-stores.js';
import { type FoundCopy, readingCopy } from '../src/copies/find-copy.js';
import { UmlsnapError } from '../src/errors.js';
import { ByteProgress } from '../src/job/byte-progress.js';
import { guestLocks } from '../src/job/guest-locks.js';
import { type JobHistory, type JobSummary, recordedIfPossible } from '../src/job/recorded-job.js';
import { withLocks } from '../src/locks/exclusive-lock.js';
import { restoreInPlace } from '../src/restore/restore-in-place.js';
import type { RestoredDisk, RestoreSource } from '../src/restore/restore-source.js';
import { restoreToDirectory } from '../src/restore/restore-to-directory.js';

export type RestoreTarget =
  | { to: 'directory'; directory: string; merge: boolean }
  | { to: 'place'; config: GuestConfig; keepReplaced: boolean };

export interface RestoreOrder {
  found: FoundCopy;
  deps: CopyDeps;
  source: RestoreSource;
  target: RestoreTarget;
  stateDirectory: string;
  signal: AbortSignal;
  /** How far all of it is. */
  onProgress?: (progress: { doneBytes: number; totalBytes: number }) => void;
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
  const { found, deps, source, target, signal } = order;
  const { snapshot, guest } = source.manifest;
  const work = () =>
    recordedIfPossible(history, { kind: 'restore', guest, trigger: 'manual' }, async (run) => {
      run.facts = { snapshot, store: found.store.name, passedOver: found.passedOver };
      run.facts.disks = await readingCopy(deps, found, () => bringBack(order));
    });
  if (target.to === 'directory') return await work();
  const locks = await guestLocks('restore', target.config, [found.store.path], order.stateDirectory);
  return await withLocks({ ...locks, wait: false, signal }, work);
}

async function bringBack({
  source,
  target,
  signal,
  onProgress = () => {},
}: RestoreOrder): Promise<RestoredDisk[]> {
  const options = { signal, onProgress: new ByteProgress(bytesOf(source), onProgress).onProgress };
  if (target.to === 'directory') {
    return await restoreToDirectory(source, target.directory, { ...options, merge: target.merge });
  }
  const targets = source.manifest.disks.map(({ device }) => {
    const disk = target.config.disks.find((configured) => configured.device === device);
    if (!disk) {
      const problem = `The config has no ${device} for guest ${target.config.name}: restore with --to DIR.`;
      throw new UmlsnapError('Usage', { problem });
    }
    return { device, path: disk.path, ...(disk.backing !== undefined && { backingPath: disk.backing }) };
  });
  return await restoreInPlace(source, targets, {
    ...options,
    keepReplaced: target.keepReplaced,
    now: new Date(),
  });
}

/** Of each file once, also of a backing file that disks share. */
function bytesOf({ manifest }: RestoreSource): number {
  const files = manifest.disks.flatMap(({ file, sizeBytes, backing }) =>
    [{ file, sizeBytes }, backing].flatMap((one) => (one ? [[one.file, one.sizeBytes] as const] : [])),
  );
  return [...new Map(files).values()].reduce((sum, sizeBytes) => sum + sizeBytes, 0);
}
