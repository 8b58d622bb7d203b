import { randomBytes } from 'node:crypto';
import { chmodSync, chownSync, rmSync } from 'node:fs';
import { chmod, mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { problemOf, UmlsnapError } from '../errors.js';
import { maxSocketPathBytes } from './pinned-socket.js';

const randomNameBytes = 8;
const socketNameBytes = '/umlsnap-XXXXXX/'.length + 2 * randomNameBytes;

const leftAtExit = new Set<string>();
let isExitWatched = false;

/**
 * A directory of our own for the sockets that guests answer to. Nobody else can put a socket there, and only the guest's
 * user can reach one, as far as we have the rights to say so.
 */
export class ReplyDirectory {
  readonly #path: string;
  readonly #guestUid: number;

  private constructor(path: string, guestUid: number) {
    this.#path = path;
    this.#guestUid = guestUid;
  }

  /**
   * Makes the directory; it goes with `remove`, or with the process.
   * @param guestUid owner of the guest's socket: it must be able to answer
   * @param base where to make it, for a guest that does not see all that we see
   * @throws StateUnusable when there is no place for it
   */
  static async make(guestUid: number, base?: string): Promise<ReplyDirectory> {
    let failure = new UmlsnapError('StateUnusable', {
      path: tmpdir(),
      problem: 'no place for reply sockets',
    });
    for (const place of base === undefined ? basesFor(guestUid) : [base]) {
      try {
        const path = await mkdtemp(join(place, 'umlsnap-'));
        removeAtExit(path);
        if (isForeign(guestUid)) await chmod(path, 0o711);
        return new ReplyDirectory(path, guestUid);
      } catch (error) {
        failure = new UmlsnapError('StateUnusable', { path: place, problem: problemOf(error) }, error);
      }
    }
    throw failure;
  }

  /** A path for one socket, never used before. */
  newSocketPath(): string {
    return join(this.#path, randomBytes(randomNameBytes).toString('hex'));
  }

  /** Lets the guest send to the socket bound at this path. MUST come before the request. */
  admitGuest(socketPath: string): void {
    if (!isForeign(this.#guestUid)) return;
    // The names of bound sockets are public (/proc/net/unix), so that a random one is no protection by itself.
    if (process.geteuid?.() === 0) chownSync(socketPath, this.#guestUid, -1);
    else chmodSync(socketPath, 0o622);
  }

  remove(): void {
    rmSync(this.#path, { recursive: true, force: true });
    leftAtExit.delete(this.#path);
  }
}

function isForeign(guestUid: number): boolean {
  return guestUid !== process.geteuid?.() && guestUid !== 0;
}

/**
 * Each request binds a socket, `go` too: so the places in memory come first, which a full or read-only disk can't take from
 * us while a guest stands still. Another user's guest can't enter our run-time directory, nor perhaps our TMPDIR.
 */
function basesFor(guestUid: number): string[] {
  const bases = isForeign(guestUid)
    ? ['/dev/shm', '/run', '/tmp']
    : [process.env.XDG_RUNTIME_DIR, '/dev/shm', tmpdir(), '/tmp'];
  return bases
    .filter((base) => base !== undefined)
    .filter((base) => isAbsolute(base) && Buffer.byteLength(base) + socketNameBytes <= maxSocketPathBytes);
}

function removeAtExit(path: string): void {
  leftAtExit.add(path);
  if (isExitWatched) return;
  isExitWatched = true;
  process.once('exit', () => {
    for (const left of leftAtExit) rmSync(left, { recursive: true, force: true });
  });
}
