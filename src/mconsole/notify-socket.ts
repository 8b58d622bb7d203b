import { randomBytes } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { chmod, chown, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { getSystemErrorName } from 'node:util';
import { createSocket, type DatagramError, type DatagramSocket } from 'unix-dgram';
import { errnoOf, problemOf, UmlsnapError } from '../errors.js';
import { HeldDirectory, withDirectoryOf } from '../path/held-directory.js';
import { goneOrForbidden } from '../process-identity.js';
import { refuseDescriptors } from './refuse-descriptors.js';

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
  file: { dev: bigint; ino: bigint };
  /** Where that lies; to be closed with the socket. */
  directory: HeldDirectory;
}

/**
 * Binds the socket of a guest. Its lock is held: one that is there was left by a process that died, or belongs to somebody who
 * is not of us.
 * @throws Busy, NotifyUnusable
 */
export async function bindNotifySocket(options: NotifySocketOptions): Promise<NotifySocket> {
  const { socketPath } = options;
  try {
    const directory = await openDirectory(options);
    try {
      directory.requireTrusted(options.guestUid ?? null);
      await removeStale(directory, options);
      return { ...(await bind(directory, options)), directory };
    } catch (error) {
      await directory.close();
      throw error;
    }
  } catch (error) {
    if (error instanceof UmlsnapError) throw error;
    throw new UmlsnapError('NotifyUnusable', { socketPath, problem: wordsOf(error) }, error);
  }
}

const isForeign = ({ guestUid }: NotifySocketOptions) =>
  guestUid !== undefined && guestUid !== process.geteuid?.();

/** A directory that is there already is somebody's, and left as it is. */
async function openDirectory(options: NotifySocketOptions): Promise<HeldDirectory> {
  const path = dirname(options.socketPath);
  try {
    return await HeldDirectory.open(path);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
    const made = await HeldDirectory.open(path, { make: true });
    if (isForeign(options)) await chmod(made.here, 0o711);
    return made;
  }
}

/** @throws Busy when another process listens there; Error for what is no socket, and not ours to remove */
async function removeStale(directory: HeldDirectory, { socketPath }: NotifySocketOptions): Promise<void> {
  const name = basename(socketPath);
  const found = await directory.stat(name);
  if (found === null) return;
  if (!found.isSocket()) throw new Error('there is something that is no socket');
  if (isListenedTo(directory.at(name))) {
    throw new UmlsnapError('Busy', { what: `The notify socket ${socketPath}`, holder: 'another process' });
  }
  await directory.unlink(name);
}

/** A notify socket below a state directory by which nobody is asked for any more. */
export interface StrayNotifySocket {
  guest: string;
  path: string;
}

/** Those of guests that are none of these. Who may not look has none. @param guests that may still have theirs */
export function strayNotifySockets(stateDirectory: string, guests: readonly string[]): StrayNotifySocket[] {
  const directory = join(stateDirectory, 'notify');
  return namesIn(directory).flatMap((name) => {
    const guest = /^(.*)\.sock$/.exec(name)?.[1];
    return guest === undefined || guests.includes(guest) ? [] : [{ guest, path: join(directory, name) }];
  });
}

/** Removes it, unless somebody listens there. @returns whether it is gone */
export async function removeStrayNotifySocket(path: string): Promise<boolean> {
  return await withDirectoryOf(path, async (directory, name) => {
    const found = await directory.stat(name);
    if (found === null) return true;
    if (!found.isSocket() || isListenedTo(directory.at(name))) return false;
    await directory.unlink(name);
    return true;
  });
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    return goneOrForbidden<string[]>([])(error);
  }
}

/** By an empty datagram, which no listener makes anything of: one that nobody reads is refused. */
function isListenedTo(path: string): boolean {
  const probe = createSocket('unix_dgram');
  let failure: DatagramError | undefined;
  probe.send(Buffer.alloc(1), 0, 1, path, (error) => {
    failure = error;
  });
  probe.close();
  return failure === undefined || getSystemErrorName(failure.code) !== 'ECONNREFUSED';
}

/**
 * It MUST be bound where only we can enter, and have its owner and mode before it gets its name: nobody can have sent to it before, nor put a
 * link in its place and be given what that leads to.
 */
async function bind(
  directory: HeldDirectory,
  options: NotifySocketOptions,
): Promise<Omit<NotifySocket, 'directory'>> {
  const privateName = `.umlsnap-${randomBytes(4).toString('hex')}`;
  const inner = await directory.makeOwn(privateName);
  const socket = createSocket('unix_dgram');
  let failure: unknown;
  socket.on('error', (error) => {
    failure = error;
  });
  try {
    const path = inner.at('socket');
    refuseDescriptors(socket.fd);
    socket.bind(path);
    if (failure !== undefined) throw failure;
    await chmod(path, 0o600);
    await letGuestIn(path, options);
    const file = await stat(path, { bigint: true });
    await inner.renameTo('socket', directory, basename(options.socketPath));
    return { socket, file };
  } catch (error) {
    socket.close();
    throw error;
  } finally {
    await inner.clear();
    await inner.close();
    await directory.rmdir(privateName);
  }
}

async function letGuestIn(path: string, options: NotifySocketOptions): Promise<void> {
  const { guestUid, socketPath } = options;
  if (guestUid === undefined || !isForeign(options)) return;
  await requireWay(guestUid, dirname(socketPath));
  if (process.geteuid?.() === 0) await chown(path, guestUid, -1);
  else await chmod(path, 0o622);
}

/** A guest that can't get to its socket says nothing, as one without an agent does: whoever looks for it MUST be told. */
async function requireWay(guestUid: number, directory: string): Promise<void> {
  const { uid, mode } = await stat(directory);
  const mayPass = (mode & (uid === guestUid ? 0o100 : 0o001)) !== 0;
  if (!mayPass) throw new Error(`user ${guestUid}, who runs the guest, may not pass ${directory}`);
  if (dirname(directory) !== directory) await requireWay(guestUid, dirname(directory));
}

function wordsOf(error: unknown): string {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'number' ? getSystemErrorName(code) : problemOf(error);
}
