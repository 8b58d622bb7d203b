import { createHash } from 'node:crypto';
import { connect, createServer, type Server, type Socket } from 'node:net';
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

interface HeldLock {
  release(): Promise<void>;
}

async function acquire(key: string, request: LockRequest): Promise<HeldLock> {
  const name = `\0umlsnap-${createHash('sha256').update(key).digest('hex').slice(0, 40)}`;
  for (;;) {
    request.signal?.throwIfAborted();
    const lock = await tryListen(name, request.holder);
    if (lock) return lock;
    const holder = await watchHolder(name, request);
    if (!request.wait) throw new UmlsnapError('Busy', { what: request.what, holder });
  }
}

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

/** The holder's own words; with `wait`, only after the holder has let go. */
function watchHolder(name: string, request: LockRequest): Promise<string> {
  return new Promise((resolve, reject) => {
    let words = '';
    const socket = connect({ path: name });
    const finish = () => {
      request.signal?.removeEventListener('abort', onAbort);
      clearTimeout(patience);
      socket.destroy();
      resolve(words === '' ? 'another process' : words);
    };
    const onAbort = () => {
      clearTimeout(patience);
      socket.destroy();
      reject(request.signal?.reason);
    };
    // A holder whose event loop is blocked says nothing: it holds the lock all the same.
    const patience = setTimeout(() => request.wait || finish(), 1000);
    request.signal?.addEventListener('abort', onAbort, { once: true });
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => {
      words = (words + text).slice(0, holderMaxBytes).replace(/[^\x20-\x7e]/g, '?');
      if (!request.wait) finish();
    });
    socket.on('error', finish);
    socket.on('close', finish);
  });
}
