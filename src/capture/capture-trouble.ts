import { fstatSync } from 'node:fs';
import { UmlsnapError } from '../errors.js';
import { describeChange, type Stamp, toStamp } from '../image/open-disk.js';
import type { CapturedDisks } from './capture.js';
import { refusalReason } from './probe-reflink.js';

/** A disk and its copy, as whoever copies has them. */
export interface DiskPair {
  guest: string;
  device: string;
  sizeBytes: number;
  sourceFd: number;
  targetFd: number;
}

/** What is done to the copy only. */
const storeCalls = ['write', 'ftruncate', 'fallocate', 'sync_file_range', 'fdatasync'];

/** The text for people of an I/O error during a capture. Pure. */
export function describeFailure(error: unknown): string {
  const { message, code, syscall } = error as NodeJS.ErrnoException;
  if (code === 'ENOSPC') return 'the store has no room left (ENOSPC)';
  if (code === 'EDQUOT') return "the store's quota is used up (EDQUOT)";
  if (syscall === 'ioctl(FICLONE)') return refusalReason(code ?? 'unknown error', null);
  if (syscall === 'read' || syscall === 'lseek') return `the disk can't be read (${code})`;
  if (storeCalls.includes(syscall ?? '')) return `the store can't be written to (${code})`;
  return message;
}

/**
 * Works on one disk. A source that was resized or replaced meanwhile is the cause of whatever else went wrong, and also when
 * nothing did.
 * @throws SourceChanged, CaptureFailed
 */
export function onDisk<T>(disk: DiskPair, work: () => T): T {
  try {
    const result = work();
    stampOf(disk);
    return result;
  } catch (error) {
    if (error instanceof UmlsnapError) throw error;
    stampOf(disk);
    const { guest, device } = disk;
    throw new UmlsnapError('CaptureFailed', { guest, device, problem: describeFailure(error) }, error);
  }
}

/** Works on the copy of a disk whose guest runs, and goes on writing. @throws CaptureFailed */
export function onStore<T>({ guest, device }: DiskPair, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw new UmlsnapError('CaptureFailed', { guest, device, problem: describeFailure(error) }, error);
  }
}

/**
 * The source as it is now; its name is not looked up, yet a file that was replaced has none left.
 * @throws SourceChanged for one that is not the one that was armed
 */
export function stampOf({ guest, device, sourceFd, sizeBytes }: DiskPair): Stamp {
  const stat = fstatSync(sourceFd, { bigint: true });
  if (stat.nlink !== 0n && stat.size === BigInt(sizeBytes)) return toStamp(stat);
  const problem =
    stat.nlink === 0n
      ? 'it was deleted or replaced by another file'
      : `its size went from ${sizeBytes} to ${stat.size} bytes`;
  throw new UmlsnapError('SourceChanged', { guest, device, problem });
}

/**
 * After the last byte was read.
 * @throws SourceChanged when a source is not as it was `before`: whatever wrote meanwhile is no guest that stands still
 */
export function requireUnchanged(disks: DiskPair[], before: Stamp[]): void {
  for (const [index, disk] of disks.entries()) {
    const problem = describeChange(before[index] as Stamp, stampOf(disk));
    const { guest, device } = disk;
    if (problem !== null) throw new UmlsnapError('SourceChanged', { guest, device, problem });
  }
}

/** After the last byte was written. @param sources as they were in the pause */
export function capturedDisks(disks: DiskPair[], sources: Stamp[]): CapturedDisks {
  return new Map(
    disks.map(({ device, targetFd }, index) => {
      const target = toStamp(fstatSync(targetFd, { bigint: true }));
      return [device, { source: sources[index] as Stamp, target }];
    }),
  );
}
