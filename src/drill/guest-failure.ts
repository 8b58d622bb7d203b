import type { DrillFailure } from '../errors.js';

export interface GuestFailure {
  failure: DrillFailure;
  /** In the kernel's own words, where it has said any. */
  detail: string;
}

/** Names that filesystems put before what they print, and what they print of one that is no good. */
const filesystems = ['EXT4-fs', 'EXT3-fs', 'EXT2-fs', 'XFS', 'BTRFS', 'F2FS', 'JFS', 'REISERFS'];
const complaints = ['error', 'bad', 'corrupt', 'invalid', "can't", 'failed', 'unable'];

/** A root filesystem is tried as one type after the other: what its own type makes of it counts. */
const otherTypes = ['unsupported optional features', 'feature incompatibilities'];

const maxLineChars = 400;

/**
 * What has happened to a guest whose kernel has given up, by the end of its console; null where it does not say. Pure, and in a time
 * that grows with the text only: all of it is the guest's.
 */
export function failureOn(console: string): GuestFailure | null {
  const lines = console.split('\n').map((line) => line.slice(0, maxLineChars).trim());
  const newest = (...words: string[]) => lines.findLast((line) => words.some((word) => line.includes(word)));
  const panic = newest('Kernel panic - not syncing: ');
  if (panic === undefined) return null;
  if (panic.includes('VFS: Unable to mount root fs')) {
    const complaint = lines.findLast(isFilesystemComplaint) ?? newest('VFS: Cannot open root device');
    const detail = complaint ?? `it holds no filesystem that its kernel knows: ${panic}`;
    return { failure: 'rootNotMounted', detail };
  }
  if (panic.includes('No working init found') || panic.includes('Requested init')) {
    const reason = newest("exists but couldn't execute", 'Failed to execute');
    return { failure: 'noInit', detail: reason ?? panic };
  }
  return { failure: panic.includes('Attempted to kill init') ? 'initDied' : 'panicked', detail: panic };
}

function isFilesystemComplaint(line: string): boolean {
  const lower = line.toLowerCase();
  return (
    filesystems.some((name) => line.includes(name)) &&
    complaints.some((word) => lower.includes(word)) &&
    !otherTypes.some((words) => line.includes(words))
  );
}

/** The same for a guest whose processes are gone, which is a failure by itself. Pure. */
export function failureOfEnd(console: string, hadAnswered: boolean, how: string): GuestFailure {
  const failure = failureOn(console);
  if (failure !== null) return failure;
  const lastLine = console.trimEnd().split('\n').at(-1)?.trim().slice(0, maxLineChars) ?? '';
  const detail = lastLine === '' ? how : `${how}: ${lastLine}`;
  return { failure: hadAnswered ? 'ended' : 'kernelDidNotStart', detail };
}
