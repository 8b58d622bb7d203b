import { randomBytes } from 'node:crypto';
import { chmodSync, chownSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { problemOf, UmlsnapError } from '../errors.js';
import { makeSocketDirectory, socketBases } from '../path/socket-directory.js';

const randomNameBytes = 8;

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
    const places = base === undefined ? socketBases(isForeign(guestUid), 2 * randomNameBytes) : [base];
    const path = await makeSocketDirectory(places, isForeign(guestUid)).catch((error: unknown) => {
      const problem = `no place for reply sockets: ${problemOf(error)}`;
      throw new UmlsnapError('StateUnusable', { path: places.join(', '), problem }, error);
    });
    removeAtExit(path);
    return new ReplyDirectory(path, guestUid);
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

function removeAtExit(path: string): void {
  leftAtExit.add(path);
  if (isExitWatched) return;
  isExitWatched = true;
  process.once('exit', () => {
    for (const left of leftAtExit) rmSync(left, { recursive: true, force: true });
  });
}
