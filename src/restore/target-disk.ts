import { type FileHandle, lstat, open } from 'node:fs/promises';
import { errnoOf, UmlsnapError } from '../errors.js';
import { lockWholeFile } from '../image/linux-calls.js';
import { type FileIdentity, findLocker, findOpener } from './file-holder.js';

/** The disk that a restore in place replaces, locked against a guest that would boot from it meanwhile. */
export interface TargetDisk extends FileIdentity {
  path: string;
  mode: number;
  owner: { uid: number; gid: number };
  handle: FileHandle;
}

/**
 * Takes the disk for us: nobody has it open or locked, and until it is released a UML that boots from it is refused by the
 * lock that UML itself takes (uml-facts §4).
 * @returns null when there is no file
 * @throws TargetInUse, RestoreFailed when it is no plain file
 */
export async function takeTargetDisk(snapshot: string, path: string): Promise<TargetDisk | null> {
  const found = await lookAt(path);
  if (found === null) return null;
  if (!found.isFile()) {
    throw new UmlsnapError('RestoreFailed', {
      snapshot,
      path,
      problem: 'what is there is not a regular file',
    });
  }
  // Before we open it: our own descriptor and lock would be found as well.
  await refuseIfOpen(path, found);
  const locker = await findLocker(found);
  if (locker !== null) throw inUse(path, locker);
  const handle = await open(path, 'r+');
  try {
    // In the time since, somebody may have come.
    if (!lockWholeFile(handle.fd)) throw inUse(path, await findLocker(found));
    await refuseIfOpen(path, found);
  } catch (error) {
    await handle.close();
    throw error;
  }
  const { dev, ino } = found;
  const owner = { uid: Number(found.uid), gid: Number(found.gid) };
  return { path, dev, ino, mode: Number(found.mode) & 0o7777, owner, handle };
}

/**
 * Looks again, right before the disk is replaced: a guest that takes no lock (flag `c`) may have opened it.
 * @throws TargetInUse, RestoreFailed when another file has taken its place
 */
export async function requireUntouched(snapshot: string, taken: TargetDisk): Promise<void> {
  const { path } = taken;
  const found = await lookAt(path);
  if (found === null || found.ino !== taken.ino || found.dev !== taken.dev) {
    throw new UmlsnapError('RestoreFailed', {
      snapshot,
      path,
      problem: 'it was replaced during the restore',
    });
  }
  await refuseIfOpen(path, taken);
}

async function refuseIfOpen(path: string, file: FileIdentity): Promise<void> {
  const pid = await findOpener(file);
  if (pid !== null) throw inUse(path, pid);
}

function inUse(path: string, pid: number | null): UmlsnapError<'TargetInUse'> {
  return new UmlsnapError('TargetInUse', { path, pid: pid === 0 ? null : pid });
}

async function lookAt(path: string) {
  try {
    return await lstat(path, { bigint: true });
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null;
    throw error;
  }
}
