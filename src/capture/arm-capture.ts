import { fdatasync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { promisify } from 'node:util';
import { problemOf, UmlsnapError } from '../errors.js';
import type { ArmedCapture, CaptureDisk, CaptureMethod } from './capture.js';
import { type CaptureChild, startCaptureChild } from './capture-process.js';
import { withTargets } from './capture-targets.js';
import { errorOfWord } from './disk-word.js';
import { killOnAbort } from './kill-on-abort.js';

const datasync = promisify(fdatasync);

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
function armCapture(
  method: Exclude<CaptureMethod, 'precopy'>,
  guest: string,
  disks: CaptureDisk[],
): Promise<ArmedCapture> {
  return withTargets(guest, disks, async (targets) => {
    const child = await startCaptureChild(method, disks, targets);
    if ('is' in child) throw errorOfWord(guest, child);
    const catchUp = method === 'reflink' ? () => flush(guest, disks) : async () => {};
    return armed(method, guest, { child, targets, catchUp });
  });
}

function armed(
  method: Exclude<CaptureMethod, 'precopy'>,
  guest: string,
  { child, targets, catchUp }: { child: CaptureChild; targets: FileHandle[]; catchUp: () => Promise<void> },
): ArmedCapture {
  return {
    method,
    catchUp,
    facts: () => ({}),
    async run(signal) {
      const word = await killOnAbort(signal, child.kill, child.capture);
      if (word.is === 'done') return word.disks;
      throw errorOfWord(guest, word);
    },
    async dispose() {
      await child.end();
      await Promise.all(targets.map((target) => target.close()));
    },
  };
}

const maxFlushes = 5;
const shortFlushMs = 5;

/**
 * A reflink first writes out what is dirty of the disk on the host. A guest at full speed makes that megabytes while they are
 * written: so again, as each time it is less, until it is little.
 */
async function flush(guest: string, disks: CaptureDisk[]): Promise<void> {
  for (let flushes = 1; flushes <= maxFlushes; flushes++) {
    const startedMs = performance.now();
    for (const { device, sourceFd } of disks) {
      await datasync(sourceFd).catch((error: unknown) => {
        throw new UmlsnapError('CaptureFailed', { guest, device, problem: problemOf(error) }, error);
      });
    }
    if (performance.now() - startedMs < shortFlushMs) return;
  }
}
