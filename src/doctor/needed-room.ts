import { applyKeepPolicy } from '../retention/apply-keep-policy.js';
import type { RetentionCandidate } from '../retention/candidate.js';
import type { KeepPolicy } from '../retention/keep-policy.js';
import { slotsBetween } from '../schedule/cron-slots.js';
import { roomForSnapshot } from '../store/store-failure.js';

/** What is known of a guest's snapshots in one store. */
export interface RoomUser {
  guest: string;
  /** undefined: by hand only. */
  schedule: string | undefined;
  timezone: string;
  keep: KeepPolicy;
  /** Those that are there, newest first. */
  snapshots: readonly (RetentionCandidate & { storedBytes: number; sharesBlocks: boolean })[];
  /** Where it is captured into this store: what its disks hold now, and whether the store can share it. null: not known. */
  capture: { dataBytes: number; sharesBlocks: boolean } | null;
}

export interface NeededRoom {
  guest: string;
  /** Without so much the next snapshot is not begun. */
  nextBytes: number;
  /** All snapshots of the next week, less what the keep rules remove meanwhile. */
  weekBytes: number;
  runs: number;
}

const weekMs = 7 * 86_400_000;
/** A schedule of every five minutes; more often nobody keeps them all. */
const maxRuns = 2016;
const recent = 5;

/**
 * How much room a guest's snapshots take within the next week: as large as the largest of the newest few, as often as the
 * schedule says, and as many as the keep rules leave. One that shares blocks with the disk takes room only as the guest
 * writes: counted is one whole disk for the week, as if the guest wrote all of it anew once. Pure.
 */
export function neededRoom(user: RoomUser, now: Date): NeededRoom {
  const { guest, snapshots, capture } = user;
  const newest = snapshots.slice(0, recent);
  const sizeBytes =
    newest.length > 0 ? Math.max(...newest.map((one) => one.storedBytes)) : capture?.dataBytes;
  const sharesBlocks = capture?.sharesBlocks ?? newest[0]?.sharesBlocks ?? false;
  const runs = slotsOfWeek(user, now);
  if (sizeBytes === undefined) return { guest, nextBytes: 0, weekBytes: 0, runs: runs.length };
  const nextBytes = roomForSnapshot(sharesBlocks ? 0 : (capture?.dataBytes ?? sizeBytes)).bytes;
  const more = runs.length === 0 ? 0 : sharesBlocks ? 1 : Math.max(1, growthOf(user, runs));
  return { guest, nextBytes, weekBytes: more * sizeBytes, runs: runs.length };
}

function slotsOfWeek({ schedule, timezone }: RoomUser, now: Date): Date[] {
  if (schedule === undefined) return [];
  return slotsBetween(schedule, timezone, now, new Date(now.getTime() + weekMs), maxRuns);
}

/** How many more snapshots there are at the end of the week: the newest is there before the oldest is removed. */
function growthOf({ snapshots, keep, timezone }: RoomUser, runs: readonly Date[]): number {
  const last = runs.at(-1);
  if (last === undefined) return 0;
  const coming = runs.map((slot) => ({
    ...{ snapshot: slot.toISOString(), takenAt: slot.toISOString() },
    ...{ pinned: false, good: true },
  }));
  const kept = applyKeepPolicy([...snapshots, ...coming], keep, { timezone, now: last }).keep.length;
  return kept + (kept < snapshots.length + coming.length ? 1 : 0) - snapshots.length;
}
