import { fstat } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { promisify } from 'node:util';
import { errnoOf, problemOf } from '../errors.js';
import { cloneStart } from '../image/linux-calls.js';
import { fileSystemName, refusalReason } from './refusal-reason.js';
import { withScratchFile } from './scratch-file.js';

export type ReflinkProbe = { works: true } | { works: false; reason: string };

const fstatAsync = promisify(fstat);

/**
 * Whether this disk can be captured into this directory by reflink: tried out on its first block, with a file that has no
 * name. The answer is for preflight; the capture itself still may be refused.
 */
export async function probeReflink(sourceFd: number, directory: string): Promise<ReflinkProbe> {
  try {
    const { size, blksize } = await fstatAsync(sourceFd);
    // 0 means up to the end: a last block that is not whole can only be cloned so.
    const lengthBytes = size <= blksize ? 0 : blksize;
    await withScratchFile(directory, (scratch) => cloneStart(sourceFd, scratch.fd, lengthBytes));
    return { works: true };
  } catch (error) {
    const errno = errnoOf(error);
    if ((error as NodeJS.ErrnoException).syscall !== 'ioctl(FICLONERANGE)' || errno === undefined) {
      return { works: false, reason: problemOf(error) };
    }
    const { type } = await statfs(directory);
    return { works: false, reason: refusalReason(errno, fileSystemName(type)) };
  }
}
