import { randomBytes } from 'node:crypto';
import { closeSync, constants, mkdirSync, openSync, readdirSync, rmdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { errnoOf } from '../../errors.js';
import { goneOrForbidden, isAlive, ownIdentity } from '../../process-identity.js';
import { initPidNamespace, pidNamespaceOf } from './pid-namespace.js';
import { findTracefs, mountedTracefs } from './tracefs.js';

/** A trace buffer of our own with its own events: nothing that others trace is touched by it, or touches it. */
export interface TraceInstance {
  readonly path: string;
  /** Ends its tracing and frees its memory; a second call does nothing. @throws Error when it is still in use after seconds */
  remove(): Promise<void>;
}

const removeLimitMs = 5000;
const staleLimitMs = 1000;
const ownName = /^umlsnap-(\d+)-(\d+)-(\d+)-[0-9a-f]+$/;

/**
 * Makes an instance that is known to be this process's, after those that dead ones left were removed. Whoever makes it
 * removes it, on every way out.
 * @throws Error with a reason for people
 */
export async function createTraceInstance(): Promise<TraceInstance> {
  const tracefs = findTracefs();
  if ('problem' in tracefs) throw new Error(tracefs.problem);
  await removeStaleInstances();
  const { pid, startTicks } = ownIdentity();
  const name = `umlsnap-${pid}-${startTicks}-${pidNamespaceOf('self')}-${randomBytes(6).toString('hex')}`;
  const instancesDir = `${tracefs.path}/instances`;
  // Held open, so that the instance can be removed even when tracefs is no longer mounted where it was.
  const dirFd = makeInstance(instancesDir, name);
  let removal: Promise<void> | undefined;
  const remove = async () => {
    try {
      const isRemoved = await removeDirectory(`/proc/self/fd/${dirFd}/${name}`, removeLimitMs);
      if (!isRemoved) throw new Error(`the trace instance ${name} is still in use, and was left`);
    } finally {
      closeSync(dirFd);
    }
  };
  return {
    path: `${instancesDir}/${name}`,
    remove: () => {
      removal ??= remove();
      return removal;
    },
  };
}

/** @returns the directory that it was made in, open */
function makeInstance(instancesDir: string, name: string): number {
  let dirFd: number | undefined;
  try {
    dirFd = openSync(instancesDir, constants.O_RDONLY | constants.O_DIRECTORY);
    mkdirSync(`${instancesDir}/${name}`);
    return dirFd;
  } catch (error) {
    if (dirFd !== undefined) closeSync(dirFd);
    const why = ['EACCES', 'EPERM'].includes(errnoOf(error) ?? '') ? ': run as root' : '';
    throw new Error(`no trace instance can be made in ${instancesDir} (${errnoOf(error)})${why}`, {
      cause: error,
    });
  }
}

/**
 * Removes the instances whose owner is dead. Those of processes that we can't see (in other pid namespaces) stay, unless
 * no process is left in theirs.
 * @returns the names of those that were removed
 */
export async function removeStaleInstances(): Promise<string[]> {
  const tracefs = mountedTracefs();
  if (tracefs === undefined) return [];
  const removed: string[] = [];
  for (const name of instancesIn(tracefs).filter(isStale)) {
    // Who looks into it keeps it from being removed now, and nobody from working: the next time will do.
    if (await removeDirectory(`${tracefs}/instances/${name}`, staleLimitMs)) removed.push(name);
  }
  return removed;
}

/** The names of those that `removeStaleInstances` would remove; mounts and removes nothing. */
export function staleInstances(): string[] {
  const tracefs = mountedTracefs();
  return tracefs === undefined ? [] : instancesIn(tracefs).filter(isStale);
}

/** Who may not look has made none. */
function instancesIn(tracefs: string): string[] {
  try {
    return readdirSync(`${tracefs}/instances`);
  } catch (error) {
    return goneOrForbidden<string[]>([])(error);
  }
}

function isStale(name: string): boolean {
  const [, pid, startTicks, namespace] = ownName.exec(name) ?? [];
  if (namespace === undefined) return false;
  const ownNamespace = pidNamespaceOf('self');
  if (namespace === ownNamespace) return !isAlive({ pid: Number(pid), startTicks: Number(startTicks) });
  // Only from the outermost namespace all processes can be seen.
  return ownNamespace === initPidNamespace && !livingNamespaces().has(namespace);
}

function livingNamespaces(): Set<string> {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return new Set(
    pids.map((pid) => {
      try {
        return pidNamespaceOf(pid);
      } catch (error) {
        return goneOrForbidden('')(error);
      }
    }),
  );
}

/** @returns false when somebody still looks into the instance (EBUSY) after `limitMs` */
async function removeDirectory(path: string, limitMs: number): Promise<boolean> {
  const startedMs = performance.now();
  for (;;) {
    try {
      rmdirSync(path);
      return true;
    } catch (error) {
      const code = errnoOf(error);
      // The kernel says ENODEV while somebody else is removing it.
      if (code === 'ENOENT' || code === 'ENODEV') return true;
      if (code !== 'EBUSY') throw error;
      if (performance.now() - startedMs > limitMs) return false;
    }
    await sleep(10);
  }
}
