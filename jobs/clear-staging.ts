import type { GuestConfig } from '../src/config/config.js';
import { isError } from '../src/errors.js';
import type { SnapshotHistory } from '../src/snapshot/ports.js';
import { type RetentionPlanner, retentionPlanner } from '../src/snapshot/retain.js';
import { findingsIn } from '../src/store/soundness.js';
import type { Store } from '../src/store/store.js';
import { isSound, type StoredSnapshot } from '../src/store/stored-snapshots.js';

/**
 * Removes from staging what the archive has, with the same content and not known to be damaged there, and what the keep rules would
 * remove there at once. As in every removal: out of the list durably, then the history's row, then the deletion.
 */
export async function clearStaging(
  config: GuestConfig,
  staging: Store,
  archive: Store,
  history: SnapshotHistory,
  now: Date,
): Promise<void> {
  const planner = await retentionPlanner(config, archive.name, history, { now });
  const findings = await findingsIn(history, { store: archive.name, guest: config.name });
  const isGood = ({ snapshot }: StoredSnapshot) =>
    findings.soundnessOf(archive.name, { snapshot }, config.isDrilled).type === 'sound';
  const waiting = (await staging.list(config.name)).filter(isGood);
  const archived = await archive.list(config.name);
  for (const { snapshot, reason } of noLongerWaiting(waiting, archived, archive, planner)) {
    try {
      await staging.moveToTrash(snapshot);
    } catch (error) {
      // It is being read, or has files of others in it: it goes another time, and keeps no other one.
      if (isError(error, 'Busy') || isError(error, 'NotOurs')) continue;
      throw error;
    }
    await history.forgetSnapshot(staging.name, snapshot, { removedAt: now.toISOString(), reason });
  }
  await staging.emptyTrash();
}

function noLongerWaiting(
  waiting: StoredSnapshot[],
  archived: StoredSnapshot[],
  archive: Store,
  planner: RetentionPlanner,
): { snapshot: string; reason: string }[] {
  const carried = waiting.filter((one) => archived.some((other) => isSameSnapshot(one, other)));
  const left = waiting.filter((one) => !archived.some(({ snapshot }) => snapshot === one.snapshot));
  const { remove } = planner([...archived, ...left]);
  const isLeft = new Set(left.map(({ snapshot }) => snapshot));
  return [
    ...carried.map(({ snapshot }) => ({ snapshot, reason: `it was carried into store ${archive.name}` })),
    ...remove.filter(({ snapshot }) => isLeft.has(snapshot)),
  ];
}

/** By the checksums of its disks: a name alone proves nothing. */
function isSameSnapshot(one: StoredSnapshot, other: StoredSnapshot): boolean {
  if (one.snapshot !== other.snapshot || !isSound(one) || !isSound(other)) return false;
  const sums = ({ manifest }: typeof one) =>
    manifest.disks.map(({ device, sha256 }) => `${device} ${sha256}`);
  return sums(one).join() === sums(other).join();
}
