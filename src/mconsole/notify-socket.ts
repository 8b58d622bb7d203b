import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  rmSync,
  statSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { getSystemErrorName } from 'node:util';
import { createSocket, type DatagramError, type DatagramSocket } from 'unix-dgram';
import { errnoOf, problemOf, UmlsnapError } from '../errors.js';

export interface NotifySocketOptions {
  socketPath: string;
  /** Of the guest. When it is not ours, the guest is let in: the directory can then be passed, though not listed. */
  guestUid?: number;
  /** Told to whoever wants to listen to the same guest: `umlsnap snapshot debian (pid 123)`. */
  holder: string;
}

/** A socket and the file that it is bound to. */
export interface NotifySocket {
  socket: DatagramSocket;
  file: { dev: number; ino: number };
}

/**
 * Binds the socket of a guest. Its lock is held: one that is there was left by a process that died, or belongs to somebody who
 * is not of us.
 * @throws Busy, NotifyUnusable
 */
export function bindNotifySocket(options: NotifySocketOptions): NotifySocket {
  const { socketPath } = options;
  try {
    makeDirectory(options);
    removeStale(socketPath);
    return bind(options);
  } catch (error) {
    if (error instanceof UmlsnapError) throw error;
    throw new UmlsnapError('NotifyUnusable', { socketPath, problem: wordsOf(error) }, error);
  }
}

const isForeign = ({ guestUid }: NotifySocketOptions) =>
  guestUid !== undefined && guestUid !== process.geteuid?.();

/** A directory that is there already is somebody's, and left as it is. */
function makeDirectory(options: NotifySocketOptions): void {
  const directory = dirname(options.socketPath);
  const made = mkdirSync(directory, { recursive: true, mode: 0o700 });
  if (made !== undefined && isForeign(options)) chmodSync(directory, 0o711);
}

/** @throws Busy when another process listens there; EEXIST for what is no socket, and not ours to remove */
function removeStale(socketPath: string): void {
  let isSocket: boolean;
  try {
    isSocket = lstatSync(socketPath).isSocket();
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return;
    throw error;
  }
  if (!isSocket) throw new Error('there is something that is no socket');
  if (isListenedTo(socketPath)) {
    throw new UmlsnapError('Busy', { what: `The notify socket ${socketPath}`, holder: 'another process' });
  }
  rmSync(socketPath);
}

/** By an empty datagram, which no listener makes anything of: one that nobody reads is refused. */
function isListenedTo(socketPath: string): boolean {
  const probe = createSocket('unix_dgram');
  let failure: DatagramError | undefined;
  probe.send(Buffer.alloc(1), 0, 1, socketPath, (error) => {
    failure = error;
  });
  probe.close();
  return failure === undefined || getSystemErrorName(failure.code) !== 'ECONNREFUSED';
}

function bind(options: NotifySocketOptions): NotifySocket {
  const { socketPath } = options;
  const socket = createSocket('unix_dgram');
  let failure: unknown;
  socket.on('error', (error) => {
    failure = error;
  });
  // Nobody else's from the first instant on.
  const before = process.umask(0o177);
  socket.bind(socketPath);
  process.umask(before);
  try {
    if (failure !== undefined) throw failure;
    return { socket, file: letGuestIn(options) };
  } catch (error) {
    socket.close();
    throw error;
  }
}

/** Missing in Node's constants; the same on every architecture that UML exists for. */
const openAsPath = 0o10000000;

/**
 * Lets the guest's user send. By a descriptor, which leads to the socket itself: in a directory of his he could put a link to
 * any file in its place, and be given that.
 * @returns which file the socket is
 */
function letGuestIn(options: NotifySocketOptions): NotifySocket['file'] {
  const { socketPath, guestUid } = options;
  const descriptor = openSync(socketPath, openAsPath | constants.O_NOFOLLOW);
  try {
    const found = fstatSync(descriptor);
    if (!found.isSocket() || found.uid !== process.geteuid?.())
      throw new Error('another file was put in its place');
    const pinned = `/proc/self/fd/${descriptor}`;
    if (guestUid !== undefined && isForeign(options)) {
      requireWay(guestUid, dirname(socketPath));
      if (process.geteuid?.() === 0) chownSync(pinned, guestUid, -1);
      else chmodSync(pinned, 0o622);
    }
    return { dev: found.dev, ino: found.ino };
  } finally {
    closeSync(descriptor);
  }
}

/** A guest that can't get to its socket says nothing, as one without an agent does: whoever looks for it MUST be told. */
function requireWay(guestUid: number, directory: string): void {
  const { uid, mode } = statSync(directory);
  const mayPass = (mode & (uid === guestUid ? 0o100 : 0o001)) !== 0;
  if (!mayPass) throw new Error(`user ${guestUid}, who runs the guest, may not pass ${directory}`);
  if (dirname(directory) !== directory) requireWay(guestUid, dirname(directory));
}

function wordsOf(error: unknown): string {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'number' ? getSystemErrorName(code) : problemOf(error);
}
