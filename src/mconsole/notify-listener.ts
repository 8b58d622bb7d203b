import { lstatSync } from 'node:fs';
import { basename } from 'node:path';
import { errnoOf, UmlsnapError } from '../errors.js';
import { withLocks } from '../locks/exclusive-lock.js';
import type { Lock } from '../locks/lock.js';
import { maxSocketPathBytes } from '../path/socket-directory.js';
import { decodeNotification, maxNotificationBytes, type Notification } from './notification.js';
import { bindNotifySocket, type NotifySocket, type NotifySocketOptions } from './notify-socket.js';

/** Where notifications of one guest come from: a socket of ours, or somebody who holds it already. */
export interface NotificationSource {
  /** Has `take` called for each notification from now on. @returns what ends that */
  subscribe(take: (notification: Notification) => void): () => void;
}

/** What came and was no notification. */
export interface Dropped {
  malformed: number;
  tooLarge: number;
}

/** Whoever of a state directory listens at a socket holds this. */
export function listenerLock(state: string, socketPath: string): Lock {
  return { on: 'state', state, key: `notify ${socketPath}` };
}

/** Listens on the notify socket of one guest, and reads whatever comes as it comes. */
export class NotifyListener implements NotificationSource {
  readonly socketPath: string;
  readonly dropped: Dropped = { malformed: 0, tooLarge: 0 };
  readonly #bound: NotifySocket;
  readonly #takers = new Set<(notification: Notification) => void>();

  private constructor(socketPath: string, bound: NotifySocket) {
    this.socketPath = socketPath;
    this.#bound = bound;
    bound.socket.on('message', (datagram) => this.#receive(datagram));
  }

  /**
   * Runs `use` while we listen. The socket MUST be read until it is gone: a guest whose notifications nobody reads stands
   * still after about eleven of them (uml-facts, fact 7). Afterwards the name is gone as well, and the guest goes on.
   * @param options its `lock` is held, so that two of us don't take the socket from each other
   * @throws SocketPathTooLong, Busy when somebody else listens, NotifyUnusable, and what `withLocks` throws
   */
  static async listenWhile<T>(
    options: NotifySocketOptions & { lock: Lock },
    use: (listener: NotifyListener) => Promise<T>,
  ): Promise<T> {
    const { socketPath, holder, lock } = options;
    const lengthBytes = Buffer.byteLength(socketPath);
    if (lengthBytes > maxSocketPathBytes) {
      throw new UmlsnapError('SocketPathTooLong', { socketPath, lengthBytes, maxBytes: maxSocketPathBytes });
    }
    const what = `The notify socket ${socketPath}`;
    return await withLocks({ locks: [lock], holder, what, wait: false }, async () => {
      const listener = new NotifyListener(socketPath, await bindNotifySocket(options));
      try {
        return await use(listener);
      } finally {
        await listener.#close();
      }
    });
  }

  subscribe(take: (notification: Notification) => void): () => void {
    this.#takers.add(take);
    return () => this.#takers.delete(take);
  }

  /** Called from the event loop's own hands, one datagram a turn: a flood holds nobody else up. */
  #receive(datagram: Buffer): void {
    if (datagram.length > maxNotificationBytes) {
      this.dropped.tooLarge += 1;
      return;
    }
    const decoded = decodeNotification(datagram);
    if (decoded.type === 'malformed') {
      this.dropped.malformed += 1;
      return;
    }
    for (const take of [...this.#takers]) take(decoded);
  }

  /** False when the socket's name is gone, or is that of another file: then nobody reaches us any more. */
  isInPlace(): boolean {
    try {
      const { dev, ino } = lstatSync(this.socketPath, { bigint: true });
      return dev === this.#bound.file.dev && ino === this.#bound.file.ino;
    } catch (error) {
      if (errnoOf(error) !== undefined) return false;
      throw error;
    }
  }

  async #close(): Promise<void> {
    this.#takers.clear();
    const { socket, file, directory } = this.#bound;
    const name = basename(this.socketPath);
    const found = await directory.stat(name);
    socket.close();
    if (found?.ino === file.ino && found.dev === file.dev) await directory.unlink(name);
    await directory.close();
  }
}
