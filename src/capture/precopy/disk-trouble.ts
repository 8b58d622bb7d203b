import { lookAtSource } from '../look-at-source.js';
import { DiskTrouble } from './precopy-words.js';

interface LookedAt {
  device: string;
  sizeBytes: number;
  sourceFd: number;
}

/**
 * Works on one disk. A source that was resized or replaced meanwhile is the cause of whatever else went wrong, and also when
 * nothing did.
 * @throws DiskTrouble
 */
export function onDisk<T>(disk: LookedAt, work: () => T): T {
  try {
    const result = work();
    requireSame(disk);
    return result;
  } catch (error) {
    if (error instanceof DiskTrouble) throw error;
    requireSame(disk);
    const { message, code, syscall } = error as NodeJS.ErrnoException;
    throw new DiskTrouble({ is: 'failed', device: disk.device, message, code, syscall });
  }
}

/** @throws DiskTrouble */
export function requireSame({ device, sizeBytes, sourceFd }: LookedAt): void {
  const look = lookAtSource(sourceFd, sizeBytes);
  if ('problem' in look) throw new DiskTrouble({ is: 'changed', device, problem: look.problem });
}
