import { formatSize } from '../config/size.js';
import { roomForSnapshot } from '../store/store-failure.js';
import { type Finding, fine, trouble } from './finding.js';
import type { NeededRoom } from './needed-room.js';

/** As many as some snapshots have files. */
const fewInodes = 1000;

/**
 * Whether a store has room for the next snapshot of each guest, and for all of the next week.
 * @param isCapturedInto otherwise snapshots are carried into it, and wait where they are
 */
export function checkRoom(
  store: string,
  free: { bytes: number; inodes: number },
  needed: readonly NeededRoom[],
  isCapturedInto = true,
): Finding {
  const about = { check: 'room', about: store } as const;
  const nextBytes = Math.max(0, ...needed.map((one) => one.nextBytes));
  const weekBytes = needed.reduce((sum, one) => sum + one.weekBytes, 0);
  const facts = { freeBytes: free.bytes, freeInodes: free.inodes, nextBytes, weekBytes, needed };
  const { inodes } = roomForSnapshot(0);
  const figures = `${formatSize(free.bytes)} are free; the next snapshot needs up to ${formatSize(nextBytes)}, the next week ${formatSize(weekBytes)}`;
  const [now, level] = isCapturedInto
    ? (['The next backup fails.', 'critical'] as const)
    : (['The next snapshot gets no copy here.', 'warning'] as const);
  if (free.bytes < nextBytes) return tooFull(level, `${figures}.`, now);
  if (free.inodes < inodes) return tooFull(level, `Only ${free.inodes} inodes are free.`, now);
  if (free.inodes < fewInodes)
    return tooFull('warning', `Only ${free.inodes} inodes are free.`, 'Backups soon fail.');
  if (free.bytes < weekBytes) return tooFull('warning', `${figures}.`, 'Within a week backups fail.');
  return fine(about, `${figures}.`, facts);

  function tooFull(level: 'warning' | 'critical', what: string, means: string): Finding {
    const mend =
      'Give the store more room, or keep fewer snapshots (`keep:`, then `umlsnap prune --dry-run`).';
    return trouble(about, { level, what, means, mend, facts });
  }
}
