import { closeSync, constants, fstatSync, lstatSync, openSync, readSync, type Stats } from 'node:fs';
import { access, type FileHandle, lstat } from 'node:fs/promises';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import { errnoOf, problemOf, UmlsnapError } from '../errors.js';
import { type HeldDirectory, isPathError, withDirectoryOf } from '../path/held-directory.js';
import { maxSocketPathBytes } from '../path/socket-directory.js';

/**
 * A guest's mconsole socket, held by its inode. Requests go to `sendPath`, which leads to that inode and to no other:
 * whatever is put at the path afterwards can't catch them.
 */
export class PinnedSocket {
  readonly path: string;
  readonly ownerUid: number;
  readonly #handle: FileHandle;
  readonly #identity: Stats;
  readonly #root: string;

  private constructor(path: string, root: string, handle: FileHandle, identity: Stats) {
    this.path = path;
    this.#root = root;
    this.ownerUid = identity.uid;
    this.#handle = handle;
    this.#identity = identity;
  }

  /**
   * @param root the guest's own `/`, where that is not ours: the names that it binds begin there
   * @throws SocketPathTooLong, NoMconsoleSocket, NotASocket, SocketNotAllowed
   */
  static async open(givenPath: string, root = ''): Promise<PinnedSocket> {
    const socketPath = resolve(givenPath);
    const lengthBytes = Buffer.byteLength(socketPath);
    if (lengthBytes > maxSocketPathBytes) {
      throw new UmlsnapError('SocketPathTooLong', { socketPath, lengthBytes, maxBytes: maxSocketPathBytes });
    }
    const handle = await pin(socketPath, root);
    try {
      const identity = await handle.stat();
      if (!identity.isSocket()) throw new UmlsnapError('NotASocket', { socketPath, found: kindOf(identity) });
      await access(`/proc/self/fd/${handle.fd}`, constants.W_OK).catch((error: unknown) => {
        throw new UmlsnapError('SocketNotAllowed', { socketPath, cause: problemOf(error) }, error);
      });
      return new PinnedSocket(socketPath, root, handle, identity);
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  /** Where to send to: short whatever the path's length, and bound to the inode. */
  get sendPath(): string {
    return `/proc/self/fd/${this.#handle.fd}`;
  }

  /**
   * True when a datagram with this sender's name came from the pinned socket. Its name is the path that the guest bound
   * it by: the one that we asked, or another spelling that leads to the same inode. The pid file beside the socket is
   * only a hint: it counts for nothing unless the name then leads to that inode.
   */
  isSender(name: string): boolean {
    const path = isAbsolute(name) ? `${this.#root}${name}` : this.#inGuestsDirectory(name);
    const found = path === undefined ? undefined : statOrNothing(path);
    if (this.#isHere(found)) return true;
    // The guest still has the socket whose file was removed or replaced: its answer to `go` MUST NOT go unheard. Nobody but its own
    // user, and root, can have put another one there, and reach ours from it.
    return name === this.path && (found === undefined || found.uid === this.ownerUid);
  }

  /** True when the path no longer leads to the socket that was pinned: replaced, or gone. */
  async isReplaced(): Promise<boolean> {
    try {
      return !this.#isHere(await lstat(this.path));
    } catch (error) {
      if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return true;
      throw error;
    }
  }

  /** To be called once. */
  close(): void {
    void this.#handle.close();
  }

  /** The descriptor keeps the inode alive, so its number can't have gone to another file. */
  #isHere(found: Stats | undefined): boolean {
    return found?.dev === this.#identity.dev && found.ino === this.#identity.ino;
  }

  #inGuestsDirectory(name: string): string | undefined {
    const pid = readPidFile(join(dirname(this.path), 'pid'));
    return pid === undefined ? undefined : `/proc/${pid}/cwd/${name}`;
  }
}

async function pin(socketPath: string, root: string): Promise<FileHandle> {
  try {
    const use = async (directory: HeldDirectory, name: string) => {
      const handle = await directory.pin(name);
      try {
        directory.requireTrusted((await handle.stat()).uid);
        return handle;
      } catch (error) {
        await handle.close();
        throw error;
      }
    };
    return await withDirectoryOf(socketPath, use, root === '' ? {} : { root });
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') {
      throw new UmlsnapError('NoMconsoleSocket', { guest: socketPath, tried: [socketPath] }, error);
    }
    if (!isPathError(error)) throw error;
    throw new UmlsnapError('SocketNotAllowed', { socketPath, cause: problemOf(error) }, error);
  }
}

function kindOf(stats: Stats): string {
  if (stats.isSymbolicLink()) return 'symbolic link';
  if (stats.isDirectory()) return 'directory';
  if (stats.isFIFO()) return 'FIFO';
  return stats.isFile() ? 'file' : 'device';
}

function statOrNothing(path: string): Stats | undefined {
  try {
    return lstatSync(path);
  } catch (error) {
    // A sender whose name leads nowhere that we can see is not the guest.
    if (errnoOf(error) !== undefined) return undefined;
    throw error;
  }
}

/** The guest's owner may have put anything there, so nothing is followed, waited for or read at length. */
function readPidFile(path: string): number | undefined {
  let descriptor: number;
  try {
    descriptor = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (errnoOf(error) !== undefined) return undefined;
    throw error;
  }
  try {
    if (!fstatSync(descriptor).isFile()) return undefined;
    const head = Buffer.alloc(16);
    const digits = /^(\d{1,10})\n?$/.exec(head.toString('latin1', 0, readSync(descriptor, head)))?.[1];
    return digits === undefined ? undefined : Number(digits);
  } finally {
    closeSync(descriptor);
  }
}
