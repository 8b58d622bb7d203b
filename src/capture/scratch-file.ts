import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf } from '../errors.js';

/** `O_TMPFILE` of linux/fcntl.h, the same on all machines that Node runs on; `O_DIRECTORY` is a part of it. */
const O_TMPFILE = 0o20000000 | constants.O_DIRECTORY;

/** Lets `use` have a file in this directory that has no name: whatever happens, nothing is left of it. */
export async function withScratchFile<T>(
  directory: string,
  use: (scratch: FileHandle) => Promise<T>,
): Promise<T> {
  const scratch = await openScratch(directory);
  try {
    return await use(scratch);
  } finally {
    await scratch.close();
  }
}

async function openScratch(directory: string): Promise<FileHandle> {
  try {
    return await open(directory, O_TMPFILE | constants.O_RDWR, 0o600);
  } catch (error) {
    const errno = errnoOf(error);
    if (errno !== 'ENOTSUP' && errno !== 'EOPNOTSUPP' && errno !== 'EISDIR') throw error;
  }
  // NFS and kin: a name for the moment between these two calls.
  const path = join(directory, `.umlsnap-probe-${randomBytes(6).toString('hex')}`);
  const scratch = await open(path, 'wx+', 0o600);
  await unlink(path);
  return scratch;
}
