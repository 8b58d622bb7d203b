import { createHash } from 'node:crypto';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { errnoOf, UmlsnapError } from './errors.js';

/**
 * Locks between processes of this host (of one network namespace): a lock is an abstract unix socket that its holder
 * listens on. The kernel makes it exclusive and releases it at any death, kill -9 included; no file is left behind.
 */

export interface LockRequest {
  /** What is locked, `disk 65024:2146610`; the same text means the same lock. */
  keys: string[];
  /** Told to whoever finds it locked: `umlsnap snapshot debian (pid 123)`. */
  holder: string;
  /** How the locked thing is called in a message. */
  what: string;
  wait: boolean;
  signal?: AbortSignal;
}

const holderMaxBytes = 200;

/**
 * Runs `use` while all the locks are held. They are taken in sorted order, so that two of us can't hold one each.
 * @throws Busy at once when one is held and `wait` is false
 */
export async function withLocks<T>(request: LockRequest, use: () => Promise<T>): Promise<T> {
  const held: HeldLock[] = [];
  try {
    for (const key of [...new Set(request.keys)].sort()) held.push(await acquire(key, request));
    return await use();
  } finally {
    for (const lock of held.reverse()) await lock.release();
  }
}

/**
 * Who holds the lock now, in the holder's own words; undefined when nobody does. Takes nothing, so that it is in nobody's way.
 */
export function holderOf(key: string): Promise<string | undefined> {
  return watchHolder(nameOf(key), { wait: false });
}

function nameOf(key: string): string {
  return `\0umlsnap-${createHash('sha256').update(key).digest('hex').slice(0, 40)}`;
}

interface HeldLock {
  release(): Promise<void>;
}

/** A name that nobody listens to, so often in a row, is not one whose holder has just let go. */
const maxLooks = 50;
const lookAgainMs = 2;

async function acquire(key: string, request: LockRequest): Promise<HeldLock> {
  const name = nameOf(key);
  for (let looks = 1; ; looks++) {
    request.signal?.throwIfAborted();
    const lock = await tryListen(name, request.holder);
    if (lock) return lock;
    const holder = await watchHolder(name, request);
    if (request.wait) looks = 0;
    else if (holder !== undefined || looks >= maxLooks) {
      throw new UmlsnapError('Busy', { what: request.what, holder: holder ?? unknownHolder });
    }
    if (holder === undefined) await sleep(lookAgainMs, undefined, { ref: false });
  }
}

const unknownHolder = 'another process';

function tryListen(name: string, holder: string): Promise<HeldLock | undefined> {
  const watchers = new Set<Socket>();
  const server: Server = createServer((watcher) => {
    watchers.add(watcher);
    watcher.on('error', () => watcher.destroy());
    watcher.on('close', () => watchers.delete(watcher));
    watcher.unref();
    watcher.write(holder.slice(0, holderMaxBytes));
  });
  server.unref();
  const release = () =>
    new Promise<void>((done) => {
      server.close(() => done());
      for (const watcher of watchers) watcher.destroy();
    });
  return new Promise((resolve, reject) => {
    server.once('error', (error) => (errnoOf(error) === 'EADDRINUSE' ? resolve(undefined) : reject(error)));
    server.listen({ path: name, exclusive: true }, () => resolve({ release }));
  });
}

/**
 * The holder's own words; with `wait`, only after the holder has let go.
 * @returns undefined when there was no holder any more to say anything
 */
function watchHolder(
  name: string,
  { wait, signal }: Pick<LockRequest, 'wait' | 'signal'>,
): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    let words: string | undefined;
    const socket = connect({ path: name });
    const end = () => {
      signal?.removeEventListener('abort', onAbort);
      clearTimeout(patience);
      socket.destroy();
    };
    const finish = (found: string | undefined) => {
      end();
      resolve(found);
    };
    const onAbort = () => {
      end();
      reject(signal?.reason);
    };
    // A holder whose event loop is blocked says nothing: it holds the lock all the same.
    // Where it is our own that was blocked, what is there is taken first: the connection in one turn, its words in the next.
    const giveUp = () => wait || finish(unknownHolder);
    const patience = setTimeout(() => setImmediate(() => setImmediate(giveUp)), 1000);
    signal?.addEventListener('abort', onAbort, { once: true });
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => {
      words = ((words ?? '') + text).slice(0, holderMaxBytes).replace(/[^\x20-\x7e]/g, '?');
      if (!wait) finish(words);
    });
    socket.on('error', () => finish(words));
    socket.on('close', () => finish(words));
    // Aborted between our look and the listener above: it will not be told.
    if (signal?.aborted) onAbort();
  });
}
