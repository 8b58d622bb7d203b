import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, lstat, mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf } from '../errors.js';
import { ensureDirectories } from '../image/durable-file.js';
import { isLockedByOthers, tryLockWholeFile } from '../image/linux-calls.js';
import { type Attempt, holderText, type Lockable, noLock } from './lock.js';

/**
 * A lock that is a file of its own, 0600, in a directory of ours, 0700: DIRECTORY/HASH-OF-KEY. Its first line is its holder's words.
 * It stays when it is released: so whoever wants what a dead job of ours had locked, to resume its guest above all, needs no
 * room on a disk that is full by now, and nobody can be locking one file while somebody else makes another of that name.
 *
 * The lock is one of an open file (OFD), which can be asked for without being taken. Where the directory is read-only by now it is
 * one for reading, as more is not allowed: no job can begin beside it, and none can write that would have to be kept from it.
 */

/**
 * @param makesParents the directory and those above it are made, durably, for the first of them may be the state itself
 * @returns undefined where the directory can't be made on a read-only filesystem (of a path that is not there at all Node says
 *   ENOENT then): nobody holds what is in it
 */
export async function lockFile(
  directory: string,
  key: string,
  { makesParents }: { makesParents: boolean },
): Promise<Lockable | undefined> {
  try {
    await (makesParents ? ensureDirectories(directory) : mkdir(directory, { mode: 0o700 }));
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'EROFS' || (errno === 'ENOENT' && makesParents)) return undefined;
    if (errno !== 'EEXIST') throw error;
  }
  const found = await lstat(directory, { bigint: true });
  // A link of that name could lead anywhere.
  if (!found.isDirectory()) throw errorOf('ENOTDIR', `${directory} is not a directory`);
  const path = join(directory, nameOf(key));
  const owner = { uid: Number(found.uid), gid: Number(found.gid) };
  return {
    identity: `1 file ${found.dev} ${found.ino} ${nameOf(key)}`,
    take: (holder) => take(path, owner, holder),
  };
}

/** @returns undefined when nobody holds it */
export async function holderOfFile(
  directory: string,
  key: string,
): Promise<{ heldBy: string | undefined } | undefined> {
  const file = await openIfThere(join(directory, nameOf(key)), constants.O_RDONLY);
  if (!file) return undefined;
  try {
    return (await isLockedByOthers(file.fd)) ? { heldBy: await readHolder(file) } : undefined;
  } finally {
    await file.close();
  }
}

function nameOf(key: string): string {
  return createHash('sha256').update(key).digest('hex').slice(0, 40);
}

interface Owner {
  uid: number;
  gid: number;
}

async function take(path: string, owner: Owner, holder: string): Promise<Attempt> {
  const opened = await openToLock(path, owner);
  if (!opened) return { held: noLock };
  const { file, mode } = opened;
  try {
    if (!(await tryLockWholeFile(file.fd, mode))) {
      const heldBy = await readHolder(file);
      await file.close();
      return { heldBy };
    }
    if (mode === 'write') await writeHolder(file, holder);
    const release = async () => {
      if (mode === 'write') await writeHolder(file, '');
      await file.close();
    };
    return { held: { release } };
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** @returns undefined where it is not there and can't be made on a read-only filesystem: nobody can hold it */
async function openToLock(
  path: string,
  owner: Owner,
): Promise<{ file: FileHandle; mode: 'read' | 'write' } | undefined> {
  try {
    const file = await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
    await giveTo(file, owner).catch(async (error: unknown) => {
      await file.close();
      throw error;
    });
    return { file, mode: 'write' };
  } catch (error) {
    if (errnoOf(error) !== 'EROFS') throw error;
    const file = await openIfThere(path, constants.O_RDONLY);
    return file && { file, mode: 'read' };
  }
}

/** What root has made in the directory of a user of umlsnap MUST NOT keep that user out. */
async function giveTo(file: FileHandle, owner: Owner): Promise<void> {
  const found = await file.stat();
  if (!found.isFile()) throw errorOf('EINVAL', 'a lock is not a regular file');
  if (found.uid !== owner.uid && process.geteuid?.() === 0) await file.chown(owner.uid, owner.gid);
}

async function openIfThere(path: string, flags: number): Promise<FileHandle | undefined> {
  try {
    return await open(path, flags | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(errnoOf(error) ?? '')) return undefined;
    throw error;
  }
}

/** What is behind the first line is what a former holder had to say. The lock holds without words as well. */
async function writeHolder(file: FileHandle, holder: string): Promise<void> {
  try {
    await file.write(`${holderText(holder)}\n`, 0);
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
  }
}

async function readHolder(file: FileHandle): Promise<string | undefined> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(1024), 0, 1024, 0);
  const [line = ''] = buffer.toString('latin1', 0, bytesRead).split('\n');
  return line === '' ? undefined : holderText(line);
}

function errorOf(code: string, message: string): Error {
  return Object.assign(new Error(message), { code });
}
