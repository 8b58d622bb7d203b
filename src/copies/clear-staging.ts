import type { GuestConfig } from '../config/config.js';
import { isError } from '../errors.js';
import { listOwn } from '../snapshot/ownership.js';
import type { SnapshotHistory } from '../snapshot/ports.js';
import { type RetentionPlanner, retentionPlanner } from '../snapshot/retain.js';
import { asListed, findingsIn } from '../store/soundness.js';
import type { Store } from '../store/store.js';
import { isSound, type StoredSnapshot } from '../store/stored-snapshots.js';

/**
 * Removes from staging what the archive has, with the same content and nothing known against that copy, and what the keep rules would
 * remove there at once. A bad filesystem is no reason to keep it: it is the same in both. As in every removal: out of the list durably, then the history's row, then the deletion.
 */
export async function clearStaging(
  config: GuestConfig,
  staging: Store,
  archive: Store,
  history: SnapshotHistory,
  now: Date,
): Promise<void> {
  const findings = await findingsIn(history, { store: archive.name, guest: config.name });
  const planner = await retentionPlanner(config, archive.name, { findings, history }, { now });
  const isSoundThere = (stored: StoredSnapshot) =>
    ['sound', 'badFilesystem'].includes(
      findings.soundnessOf(archive.name, asListed(stored), config.isDrilled).type,
    );
  const archived = await listOwn(archive, config.name, history);
  const unsound = archived.filter((one) => !isSoundThere(one));
  const waiting = (await listOwn(staging, config.name, history)).filter(
    (one) => !unsound.some((other) => isOfOneJob(one, other)),
  );
  for (const { stored, reason } of noLongerWaiting(waiting, archived, archive, planner)) {
    try {
      await staging.moveToTrash(stored);
    } catch (error) {
      // It is being read, or has files of others in it: it goes another time, and keeps no other one.
      if (isError(error, 'Busy') || isError(error, 'NotOurs')) continue;
      throw error;
    }
    await history.forgetSnapshot(staging.name, stored.snapshot, { removedAt: now.toISOString(), reason });
  }
  await staging.emptyTrash();
}

function noLongerWaiting(
  waiting: StoredSnapshot[],
  archived: StoredSnapshot[],
  archive: Store,
  planner: RetentionPlanner,
): { stored: StoredSnapshot; reason: string }[] {
  const carried = waiting.filter((one) => archived.some((other) => isSameSnapshot(one, other)));
  const left = waiting.filter((one) => !archived.some((other) => isOfOneJob(one, other)));
  const { remove } = planner([...archived, ...left]);
  return [
    ...carried.map((stored) => ({ stored, reason: `it was carried into store ${archive.name}` })),
    ...left.flatMap((stored) => {
      const expired = remove.find(({ candidate }) => candidate.stored === stored);
      return expired ? [{ stored, reason: expired.reason }] : [];
    }),
  ];
}

/** By the checksums of its disks: a name alone proves nothing. */
function isSameSnapshot(one: StoredSnapshot, other: StoredSnapshot): boolean {
  if (!isOfOneJob(one, other) || !isSound(one) || !isSound(other)) return false;
  const sums = ({ manifest }: typeof one) =>
    manifest.disks.map(({ device, sha256 }) => `${device} ${sha256}`);
  return sums(one).join() === sums(other).join();
}

/** Where it was carried under another name, too: its own was taken. */
function isOfOneJob(one: StoredSnapshot, other: StoredSnapshot): boolean {
  if (!isSound(one) || !isSound(other)) return one.snapshot === other.snapshot;
  return one.manifest.job === other.manifest.job;
}
