import { constants } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { UmlsnapError } from '../errors.js';
import { tryLockWholeFile } from '../image/linux-calls.js';
import { PathRefused, type Place, pathOf } from '../path/held-directory.js';
import { type FileIdentity, findLocker, findOpener } from './file-holder.js';
import { dropSecondName } from './temporary-name.js';

/** The disk that a restore in place replaces, locked against a guest that would boot from it meanwhile. */
export interface TargetDisk extends FileIdentity {
  place: Place;
  /** Without setuid, setgid and the like, which no disk needs. */
  mode: number;
  owner: { uid: number; gid: number };
  handle: FileHandle;
}

/**
 * Takes the disk for us: nobody has it open or locked, and until it is released a UML that boots from it is refused by the
 * lock that UML itself takes (uml-facts §4). Nobody may own a part of its path but root, ourselves and the disk's owner; of a disk that was
 * lost, whoever owns its directory.
 * @returns null when there is no file
 * @throws TargetInUse, RestoreFailed, PathRefused when it is no plain file
 */
export async function takeTargetDisk(snapshot: string, place: Place): Promise<TargetDisk | null> {
  const path = pathOf(place);
  const { directory, name } = place;
  const seen = await directory.stat(name);
  if (seen === null) {
    directory.onlyStranger();
    return null;
  }
  if (seen.nlink === 2n) await dropSecondName(place, seen);
  const found = (await directory.stat(name)) ?? seen;
  const owner = { uid: Number(found.uid), gid: Number(found.gid) };
  directory.requireTrusted(owner.uid);
  if (found.nlink !== 1n) throw new PathRefused(`it has ${found.nlink} names (hard links), not one`);
  // Before we open it: our own descriptor and lock would be found as well.
  await refuseIfOpen(path, found);
  const locker = await findLocker(found);
  if (locker !== null) throw inUse(path, locker);
  const handle = await directory.openFile(name, constants.O_RDWR);
  try {
    const { dev, ino } = await handle.stat({ bigint: true });
    const taken = { place, dev, ino, mode: Number(found.mode) & 0o777, owner, handle };
    if (dev !== found.dev || ino !== found.ino) throw replaced(snapshot, path);
    // In the time since, somebody may have come.
    if (!(await tryLockWholeFile(handle.fd, 'write'))) throw inUse(path, await findLocker(found));
    await refuseIfOpen(path, found);
    return taken;
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/**
 * Looks again, right before the disk is replaced: a guest that takes no lock (flag `c`) may have opened it.
 * @throws TargetInUse, RestoreFailed when another file has taken its place
 */
export async function requireUntouched(snapshot: string, taken: TargetDisk): Promise<void> {
  const { directory, name } = taken.place;
  const path = pathOf(taken.place);
  const found = await directory.stat(name);
  if (found === null || found.ino !== taken.ino || found.dev !== taken.dev) throw replaced(snapshot, path);
  await refuseIfOpen(path, taken);
}

function replaced(snapshot: string, path: string): UmlsnapError {
  return new UmlsnapError('RestoreFailed', { snapshot, path, problem: 'it was replaced during the restore' });
}

async function refuseIfOpen(path: string, file: FileIdentity): Promise<void> {
  const pid = await findOpener(file);
  if (pid !== null) throw inUse(path, pid);
}

function inUse(path: string, pid: number | null): UmlsnapError<'TargetInUse'> {
  return new UmlsnapError('TargetInUse', { path, pid: pid === 0 ? null : pid });
}
