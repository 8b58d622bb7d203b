import { setTimeout as sleep } from 'node:timers/promises';
import { errnoOf, isOutOfRoom, problemOf, UmlsnapError } from '../errors.js';
import { diskLock } from './disk-lock.js';
import { type Attempt, type HeldLock, type Lock, type Lockable, lockDirectory, noLock } from './lock.js';
import { holderOfFile, lockFile } from './lock-file.js';

/**
 * Locks between processes of this host. The kernel makes each exclusive and releases it at any death, kill -9 included. Each is
 * taken on a file that only those reach who may work on what it stands for: nobody else can hold one, whatever he knows.
 */

export interface LockRequest {
  locks: readonly Lock[];
  /** Told to whoever finds it locked: `umlsnap snapshot debian (pid 123)`. */
  holder: string;
  /** How the locked thing is called in a message. */
  what: string;
  wait: boolean;
  signal?: AbortSignal;
}

/**
 * Runs `use` while all the locks are held. All of us take them in one order, so that two can't hold one each.
 * @throws Busy at once when one is held and `wait` is false, StateUnusable, and the signal's reason
 */
export async function withLocks<T>(request: LockRequest, use: () => Promise<T>): Promise<T> {
  const held: HeldLock[] = [];
  try {
    for (const place of await inOrder(request.locks)) held.push(await acquire(place, request));
    return await use();
  } finally {
    for (const lock of held.reverse()) await lock.release();
  }
}

/**
 * Who holds one of these locks now, in the holder's own words; undefined when nobody does. Takes none and makes nothing: it is in
 * nobody's way, and works where nothing can be written. Of a disk nobody knows before he tries.
 * @throws StateUnusable where it can't be seen
 */
export async function holderOf(...locks: Exclude<Lock, { on: 'disk' }>[]): Promise<string | undefined> {
  for (const lock of locks) {
    const look = () => holderOfFile(directoryOf(lock), lock.key);
    for (let looks = 1, found = await orWithout(lock, look, undefined); found; looks++) {
      if (found.heldBy !== undefined || looks >= maxLooks) return found.heldBy ?? unknownHolder;
      await sleep(shortestWaitMs);
      found = await orWithout(lock, look, undefined);
    }
  }
  return undefined;
}

interface Place {
  lock: Lock;
  lockable: Lockable;
}

/** Each once, by what it is and not by how it is called. */
async function inOrder(locks: readonly Lock[]): Promise<Place[]> {
  const places = new Map<string, Place>();
  for (const lock of locks) {
    const lockable = await orWithout(lock, () => find(lock), undefined);
    if (lockable) places.set(lockable.identity, { lock, lockable });
  }
  return [...places.values()].sort((a, b) => (a.lockable.identity < b.lockable.identity ? -1 : 1));
}

/** @returns undefined where nobody can hold it */
function find(lock: Lock): Promise<Lockable | undefined> {
  if (lock.on === 'disk') return diskLock(lock.path);
  return lockFile(directoryOf(lock), lock.key, { makesParents: lock.on === 'state' });
}

function directoryOf(lock: Exclude<Lock, { on: 'disk' }>): string {
  return lock.on === 'state' ? lockDirectory(lock.state) : lock.directory;
}

/** A holder that has said nothing, so often in a row, has no room to write it down. */
const maxLooks = 40;
const shortestWaitMs = 5;
const longestWaitMs = 100;
const unknownHolder = 'another process';

async function acquire({ lock, lockable }: Place, request: LockRequest): Promise<HeldLock> {
  const { holder, what, wait, signal } = request;
  for (let looks = 1, waitMs = shortestWaitMs; ; looks++) {
    signal?.throwIfAborted();
    const attempt = await orWithout<Attempt>(lock, () => lockable.take(holder), { held: noLock });
    if ('held' in attempt) return attempt.held;
    const { heldBy } = attempt;
    if (!wait && (heldBy !== undefined || looks >= maxLooks)) {
      throw new UmlsnapError('Busy', { what, holder: heldBy ?? unknownHolder });
    }
    await sleep(waitMs, undefined, signal && { signal }).catch(() => {});
    if (wait) waitMs = Math.min(2 * waitMs, longestWaitMs);
  }
}

/** Some filesystems of networks. */
const knowsNoLock = ['ENOLCK', 'ENOSYS', 'EOPNOTSUPP'];

async function orWithout<T>(lock: Lock, work: () => Promise<T>, without: T): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    if (lock.on === 'directory' && (lock.orGoOn || knowsNoLock.includes(errnoOf(error) ?? '')))
      return without;
    if (lock.on !== 'state') throw error;
    throw new UmlsnapError(
      'StateUnusable',
      { path: lock.state, problem: problemOf(error), isFull: isOutOfRoom(error) },
      error,
    );
  }
}
