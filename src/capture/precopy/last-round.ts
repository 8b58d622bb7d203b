import type { Stamp } from '../../image/open-disk.js';
import type { CapturedDisk } from '../capture.js';
import { onDisk } from './disk-trouble.js';
import type { Follower } from './follower.js';
import type { PrecopyDisk } from './precopy-disk.js';

export type LastRound =
  | { is: 'captured'; disks: Map<string, CapturedDisk> }
  | { is: 'doubtful'; problem: string };

/**
 * The part of a traced precopy that the guest stands still for, in one go: nothing is awaited. The order MUST stay: what the guest
 * wrote last is marked before the marks are taken; the proof comes after the last byte was copied, and the stamps after that.
 * @throws DiskTrouble
 */
export function copyLastRound(disks: PrecopyDisk[], follower: Follower): LastRound {
  const unsettled = follower.settle();
  if (unsettled !== null) return { is: 'doubtful', problem: unsettled };
  const before = disks.map((disk) => disk.lookAtSource());
  for (const disk of disks) onDisk(disk, () => disk.copyMarked());
  const unproven = follower.prove();
  if (unproven !== null) return { is: 'doubtful', problem: unproven };
  return { is: 'captured', disks: stampsOf(disks, before) };
}

/** @throws DiskTrouble when a source is not as it was `before` */
export function stampsOf(disks: PrecopyDisk[], before: Stamp[]): Map<string, CapturedDisk> {
  const captured = new Map<string, CapturedDisk>();
  for (const [index, disk] of disks.entries()) {
    captured.set(disk.device, disk.stamps(before[index] as Stamp));
  }
  return captured;
}

/** Enough for each step to have run often. */
const rehearsals = 20;
const rehearsedBytes = 64 * 1024;
const rehearsalLimitMs = 100;

/**
 * Does while the guest runs what the pause will do, but the tracker's own last steps: code takes long when it runs for the first
 * time. Copies what is marked on the way, and always something. It goes on for a while with a guest that writes so fast that
 * this takes longer than the pause should: this thread, unlike the one in the background, has the right of way.
 * @throws DiskTrouble
 */
export function rehearseLastRound(disks: PrecopyDisk[], follower: Follower, pauseTargetMs: number): void {
  const untilMs = performance.now() + rehearsalLimitMs;
  const isInTime = () => performance.now() < untilMs;
  for (let turn = 0, isShort = false; isInTime() && !(isShort && turn >= rehearsals); turn++) {
    const startedMs = performance.now();
    follower.follow();
    for (const disk of disks) {
      disk.lookAtSource();
      disk.blocks.mark((turn % rehearsals) * rehearsedBytes * 2, rehearsedBytes);
      onDisk(disk, () => disk.copyMarked(isInTime));
    }
    isShort = performance.now() - startedMs <= pauseTargetMs / 2;
  }
}
