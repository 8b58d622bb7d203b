import { rmSync } from 'node:fs';
import { createSocket, type DatagramError, type DatagramSocket } from 'unix-dgram';
import { problemOf, UmlsnapError } from '../errors.js';
import { errnoNameOf } from './datagram-error.js';
import { refuseDescriptors } from './refuse-descriptors.js';
import type { ReplyDirectory } from './reply-directory.js';

/** A socket that one answer is to come to. */
export class ReplySocket {
  readonly path: string;
  readonly #socket: DatagramSocket;
  #take: (datagram: Buffer, sender: string | null) => void = () => {};
  #isClosed = false;

  /** Bound, and open to the guest. @throws StateUnusable */
  static bind(replies: ReplyDirectory): ReplySocket {
    const path = replies.newSocketPath();
    try {
      const socket = boundTo(path);
      try {
        replies.admitGuest(path);
      } catch (error) {
        socket.close();
        throw error;
      }
      return new ReplySocket(path, socket);
    } catch (error) {
      const problem = isDatagramError(error) ? `${error.syscall}: ${errnoNameOf(error)}` : problemOf(error);
      throw new UmlsnapError('StateUnusable', { path, problem }, error);
    }
  }

  private constructor(path: string, socket: DatagramSocket) {
    this.path = path;
    this.#socket = socket;
    socket.on('message', (datagram, sender) => this.#take(datagram, sender.path));
  }

  get fd(): number {
    return this.#socket.fd;
  }

  /** Whose the datagrams are from now on; those that nobody has asked for yet are dropped. */
  onDatagram(take: (datagram: Buffer, sender: string | null) => void): void {
    this.#take = take;
  }

  send(datagram: Buffer, to: string, sent: (error?: DatagramError) => void): void {
    this.#socket.send(datagram, 0, datagram.length, to, sent);
  }

  /** MUST NOT stay bound unread: that would block a stopped guest (uml-facts, fact 7). */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#socket.close();
    // A name harms nobody, and a guest that stands still may be waiting for what is done about the answer.
    setImmediate(() => {
      try {
        rmSync(this.path, { force: true });
      } catch {
        // An answer that is lost for it would be worse.
      }
    });
  }
}

function boundTo(path: string): DatagramSocket {
  let failure: unknown;
  const socket = createSocket('unix_dgram');
  socket.on('error', (error) => {
    failure = error;
  });
  refuseDescriptors(socket.fd);
  socket.bind(path);
  if (failure === undefined) return socket;
  socket.close();
  throw failure;
}

function isDatagramError(error: unknown): error is DatagramError {
  return error instanceof Error && 'syscall' in error && 'code' in error && typeof error.code === 'number';
}
