import { constants } from 'node:fs';
import { type FileHandle, open, unlink } from 'node:fs/promises';
import { problemOf, UmlsnapError } from '../errors.js';
import type { ArmedCapture, CaptureDisk, CaptureMethod } from './capture.js';
import { type CaptureChild, startCaptureChild } from './capture-process.js';
import type { ChildWord } from './child-words.js';
import { describeFailure } from './describe-failure.js';

/**
 * Gets everything ready to share the disks' blocks (`FICLONE`): the pause is then one system call a disk, whatever its size.
 * The targets must lie on the disks' own file system, one that knows reflinks (see `probeReflink`).
 * @throws CaptureFailed; then no target is left
 */
export function armReflink(guest: string, disks: CaptureDisk[]): Promise<ArmedCapture> {
  return armCapture('reflink', guest, disks);
}

/**
 * Gets everything ready to copy the disks, holes as holes. The copy is the pause: `dataBytes` at the rate of
 * `measureCopyRate`. Not durable when it is done: fsync comes after `go`.
 * @throws CaptureFailed; then no target is left
 */
export function armCopy(guest: string, disks: CaptureDisk[]): Promise<ArmedCapture> {
  return armCapture('copy', guest, disks);
}

/** All that is slow MUST happen here, while the guest still runs: names, descriptors, the child, its buffers. */
async function armCapture(method: CaptureMethod, guest: string, disks: CaptureDisk[]): Promise<ArmedCapture> {
  const targets: FileHandle[] = [];
  try {
    for (const disk of disks) targets.push(await createTarget(guest, disk));
    const child = await startCaptureChild(method, disks, targets);
    if ('is' in child) throw failureOf(guest, child);
    return armed(method, guest, child, targets);
  } catch (error) {
    await Promise.all(targets.map((target) => target.close()));
    await Promise.all(disks.slice(0, targets.length).map((disk) => unlink(disk.targetPath)));
    if (error instanceof UmlsnapError) throw error;
    const device = disks.map((disk) => disk.device).join(', ');
    throw new UmlsnapError('CaptureFailed', { guest, device, problem: problemOf(error) }, error);
  }
}

async function createTarget(guest: string, { device, targetPath }: CaptureDisk): Promise<FileHandle> {
  try {
    return await open(targetPath, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o600);
  } catch (error) {
    const { message, code } = error as NodeJS.ErrnoException;
    const problem = describeFailure({ message, code, syscall: 'write' });
    throw new UmlsnapError('CaptureFailed', { guest, device, problem }, error);
  }
}

function armed(
  method: CaptureMethod,
  guest: string,
  child: CaptureChild,
  targets: FileHandle[],
): ArmedCapture {
  return {
    method,
    async run(signal) {
      signal.throwIfAborted();
      let abort = () => {};
      const cut = new Promise<never>((_, reject) => {
        // Killed rather than asked: it may be inside a system call or stopped, and the guest is waiting.
        abort = () => {
          child.kill();
          reject(signal.reason);
        };
        signal.addEventListener('abort', abort, { once: true });
      });
      try {
        const word = await Promise.race([child.capture(), cut]);
        if (word.is === 'done') return word.disks;
        throw failureOf(guest, word);
      } finally {
        signal.removeEventListener('abort', abort);
      }
    },
    async dispose() {
      await child.end();
      await Promise.all(targets.map((target) => target.close()));
    },
  };
}

function failureOf(guest: string, word: ChildWord): UmlsnapError {
  switch (word.is) {
    case 'changed':
      return new UmlsnapError('SourceChanged', { guest, device: word.device, problem: word.problem });
    case 'failed':
      return new UmlsnapError('CaptureFailed', {
        guest,
        device: word.device,
        problem: describeFailure(word),
      });
    case 'ready':
    case 'done':
      return new UmlsnapError('Internal', { problem: `the capture process said ${word.is} out of turn` });
  }
}
