import { fstat } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { promisify } from 'node:util';
import { errnoOf, problemOf } from '../errors.js';
import { cloneStart } from '../image/linux-calls.js';
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

/** Types of file systems as statfs(2) gives them, of those that people keep images on. */
const fileSystemNames = new Map([
  [0xef53, 'ext4'],
  [0x58465342, 'xfs'],
  [0x9123683e, 'btrfs'],
  [0x01021994, 'tmpfs'],
  [0x794c7630, 'overlayfs'],
  [0x6969, 'NFS'],
  [0xff534d42, 'CIFS'],
  [0xfe534d42, 'SMB'],
  [0x2fc12fc1, 'ZFS'],
  [0x65735546, 'FUSE'],
  [0xf2f52010, 'f2fs'],
]);

/** The name of a file system by its type number, null if it is none of the known ones. */
export function fileSystemName(type: number): string | null {
  return fileSystemNames.get(type) ?? null;
}

/** Why a reflink was refused, for people. Pure. */
export function refusalReason(code: string, fileSystem: string | null): string {
  switch (code) {
    case 'EXDEV':
      return 'store and disk lie on different file systems';
    case 'ENOTSUP':
    case 'EOPNOTSUPP':
    case 'ENOTTY':
    case 'ENOSYS':
      if (fileSystem === 'xfs') return 'this xfs was made without reflinks (mkfs.xfs -m reflink=1)';
      return `${fileSystem ?? 'the file system'} has no reflinks`;
    case 'ETXTBSY':
    case 'EINVAL':
      return `the file system does not share blocks of this disk (${code})`;
    default:
      return `a reflink fails (${code})`;
  }
}
