import type { BigIntStats } from 'node:fs';

/** Whom we trust with a directory: root and ourselves. */

/** Root and ourselves. */
export function isTrusted(uid: number | bigint): boolean {
  return Number(uid) === 0 || Number(uid) === process.geteuid?.();
}

/**
 * Whether others than its owner can put a name into a directory. A group of one's own is none of others (umask 002); of root's directories it
 * counts all the same, for those bits are also where an access list shows.
 */
export function othersMayWrite({ gid, mode }: Pick<BigIntStats, 'gid' | 'mode'>): boolean {
  const isOwnGroup = process.geteuid?.() !== 0 && (gid === 0n || Number(gid) === process.getegid?.());
  return (mode & 0o002n) !== 0n || ((mode & 0o020n) !== 0n && !isOwnGroup);
}

/** Whether others can rename what is not theirs in a directory: the sticky bit keeps them from it. */
export function othersMayRename(found: Pick<BigIntStats, 'gid' | 'mode'>): boolean {
  return othersMayWrite(found) && (found.mode & 0o1000n) === 0n;
}
