import { UmlsnapError } from '../errors.js';
import { OutstandingRequest } from './outstanding-request.js';
import { PinnedSocket } from './pinned-socket.js';
import { ReplyDirectory } from './reply-directory.js';
import { ReplySocket } from './reply-socket.js';

/** A request under way. */
export interface Ask {
  /**
   * The text of the answer. Rejected with CommandRefused, ReplyMalformed, GuestSocketDead (it was never delivered),
   * SocketNotAllowed, RequestTooLarge, or with GuestNotAnswering once it is abandoned. It need not be looked at.
   */
  readonly answered: Promise<string>;
  /** True once the guest has the request: from then on it may take effect at any time, answered, abandoned or not. */
  readonly isSent: boolean;
  /** Stops waiting, and frees the socket. The request itself can't be called back. */
  abandon(): void;
}

export interface RequestOptions {
  timeoutMs: number;
  signal?: AbortSignal;
}

/** A guest in a mount namespace of its own. */
export interface GuestBox {
  /** Its `/`, for us: `/proc/PID/root`. */
  root: string;
  /** A directory that it sees by the same path as we do: it can answer to sockets there. */
  sharedDirectory: string;
}

/** Speaks mconsole, version 2, with one guest (uml-facts §1). */
export class MconsoleClient {
  /** Absolute. */
  readonly socketPath: string;
  readonly #guest: PinnedSocket;
  readonly #replies: ReplyDirectory;
  readonly #outstanding = new Set<OutstandingRequest>();
  #lastRequest: Promise<unknown> = Promise.resolve();
  #foreignDatagrams = 0;
  #isClosed = false;

  /** Owner of the socket that we talk to. */
  get guestUid(): number {
    return this.#guest.ownerUid;
  }

  private constructor(guest: PinnedSocket, replies: ReplyDirectory) {
    this.socketPath = guest.path;
    this.#guest = guest;
    this.#replies = replies;
  }

  /**
   * Pins the guest's socket; sends nothing. To be closed.
   * @param box where the guest lives, if it sees other files than we do
   * @throws SocketPathTooLong, NoMconsoleSocket, NotASocket, SocketNotAllowed, StateUnusable
   */
  static async open(socketPath: string, box?: GuestBox): Promise<MconsoleClient> {
    const guest = await PinnedSocket.open(socketPath, box?.root);
    try {
      return new MconsoleClient(guest, await ReplyDirectory.make(guest.ownerUid, box?.sharedDirectory));
    } catch (error) {
      guest.close();
      throw error;
    }
  }

  /** Datagrams that came from somebody else than the guest, and were ignored. */
  get foreignDatagrams(): number {
    return this.#foreignDatagrams;
  }

  /**
   * Sends a command at once, beside whatever else is outstanding, and waits without limit. When the guest's queue is
   * full it tries again until it is abandoned.
   */
  ask(command: string): Ask {
    return this.#start(command);
  }

  /**
   * Sends a command when those before it have ended, and waits for its answer for `timeoutMs` from then.
   * @throws GuestNotAnswering (whether the command took effect is unknown), CommandRefused, ReplyMalformed,
   *   GuestSocketDead, SocketNotAllowed, RequestTooLarge, and the signal's reason
   */
  request(command: string, options: RequestOptions): Promise<string> {
    const answered = this.#lastRequest.then(() => this.#bounded(command, options));
    this.#lastRequest = answered.catch(() => {});
    return answered;
  }

  /** True when the socket's path no longer leads to the socket that was opened: replaced, or gone. */
  isReplaced(): Promise<boolean> {
    return this.#guest.isReplaced();
  }

  /** Abandons what is outstanding, and leaves no file behind. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const request of this.#outstanding) request.abandon();
    this.#guest.close();
    this.#replies.remove();
  }

  async #bounded(command: string, { timeoutMs, signal }: RequestOptions): Promise<string> {
    signal?.throwIfAborted();
    const request = this.#start(command);
    const timer = setTimeout(() => request.expire(), timeoutMs);
    const onAbort = () => request.abandon(signal?.reason);
    signal?.addEventListener('abort', onAbort);
    try {
      return await request.answered;
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
    }
  }

  #start(command: string): OutstandingRequest {
    if (this.#isClosed) {
      throw new UmlsnapError('Internal', {
        problem: `mconsole request to ${this.socketPath} after its close`,
      });
    }
    const request = new OutstandingRequest(
      {
        guest: this.#guest,
        replySocket: () => ReplySocket.bind(this.#replies),
        onForeignDatagram: () => {
          this.#foreignDatagrams += 1;
        },
        onEnd: () => this.#outstanding.delete(request),
      },
      command,
    );
    this.#outstanding.add(request);
    request.start();
    return request;
  }
}
