import { fstatSync, ftruncateSync } from 'node:fs';
import { type CopyExtent, copyExtents, extentCopier } from '../image/copy-extents.js';
import { cloneFileBlocking, dieWithParent } from '../image/linux-calls.js';
import { describeChange, toStamp } from '../image/open-disk.js';
import { becomeUrgent } from '../urgency.js';
import type { CapturedDisk } from './capture.js';
import { type ArmWord, type ChildWord, firstDiskFd, type GoWord } from './child-words.js';
import { lookAtSource } from './look-at-source.js';

/**
 * The process that captures while the guest stands still. A process of its own, so that it can be killed at the deadline in
 * the middle of a system call, and so that neither our event loop nor the pool behind `fs`, which may be full of another
 * guest's fsyncs, stands between the pause and the copy.
 */

interface ChildDisk {
  device: string;
  sizeBytes: number;
  sourceFd: number;
  targetFd: number;
  copyExtent: CopyExtent;
}

// A terminal's Ctrl-C and a service manager's SIGTERM reach the whole group. It is the parent who decides what they mean.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {});
process.on('disconnect', () => process.exit());
process.once('message', (word: ArmWord) => arm(word));

function arm({ method, parentPid, disks }: ArmWord): void {
  dieWithParent();
  // In this order: a parent that died before the call above would not be noticed by it.
  if (process.ppid !== parentPid) process.exit();
  becomeUrgent();
  const armed = disks.map(({ device, sizeBytes }, index): ChildDisk => {
    const sourceFd = firstDiskFd + 2 * index;
    const targetFd = sourceFd + 1;
    // Buffers are made now: nothing is allocated during the pause.
    return { device, sizeBytes, sourceFd, targetFd, copyExtent: extentCopier(sourceFd, targetFd) };
  });
  const captureOne =
    method === 'reflink'
      ? (disk: ChildDisk) => cloneFileBlocking(disk.sourceFd, disk.targetFd)
      : (disk: ChildDisk) => copyExtents(disk.sourceFd, disk.targetFd, disk.copyExtent);
  const failed = method === 'reflink' ? rehearse(armed, captureOne) : null;
  if (failed) {
    say(failed);
    return;
  }
  process.once('message', (_: GoWord) => say(captureAll(armed, captureOne)));
  say({ is: 'ready' });
}

/**
 * Shares the blocks of the running guest's disks once, and lets go of them again: what the first time takes (code that was
 * never run, extents that were never read, pages that are dirty on the host) MUST NOT be taken from the pause.
 */
function rehearse(disks: ChildDisk[], captureOne: (disk: ChildDisk) => void): ChildWord | null {
  const word = captureAll(disks, captureOne);
  // A guest that runs may well write meanwhile.
  if (word.is === 'failed') return word;
  for (const disk of disks) ftruncateSync(disk.targetFd, 0);
  return null;
}

function failedWord(device: string, error: unknown): ChildWord {
  const { message, code, syscall } = error as NodeJS.ErrnoException;
  return { is: 'failed', device, message, code, syscall };
}

function captureAll(disks: ChildDisk[], captureOne: (disk: ChildDisk) => void): ChildWord {
  const captured = new Map<string, CapturedDisk>();
  for (const disk of disks) {
    const { device } = disk;
    try {
      const before = lookAtSource(disk.sourceFd, disk.sizeBytes);
      if ('problem' in before) return { is: 'changed', device, problem: before.problem };
      captureOne(disk);
      const after = lookAtSource(disk.sourceFd, disk.sizeBytes);
      if ('problem' in after) return { is: 'changed', device, problem: after.problem };
      // The drain came before: whatever writes now is no guest that stands still, and the capture has parts of both.
      const problem = describeChange(before.stamp, after.stamp);
      if (problem !== null) return { is: 'changed', device, problem };
      const target = toStamp(fstatSync(disk.targetFd, { bigint: true }));
      captured.set(device, { source: after.stamp, target });
    } catch (error) {
      return failedWord(device, error);
    }
  }
  return { is: 'done', disks: captured };
}

function say(word: ChildWord): void {
  process.send?.(word);
}
