import type { DatagramError } from 'unix-dgram';
import { UmlsnapError } from '../errors.js';
import { errnoNameOf } from './datagram-error.js';
import { encodeRequest } from './packet.js';
import type { PinnedSocket } from './pinned-socket.js';
import { printableLine } from './printable.js';
import { ReplyAssembly } from './reply-assembly.js';
import type { ReplySocket } from './reply-socket.js';

export interface AskPlace {
  guest: PinnedSocket;
  /** A socket that no other request has had. @throws StateUnusable */
  replySocket(): ReplySocket;
  /** Told of each datagram that did not come from the guest. */
  onForeignDatagram: () => void;
  onEnd: (request: OutstandingRequest) => void;
}

const firstRetryMs = 1;
const longestRetryMs = 20;

/**
 * One request and its answer, on a socket of its own. Replies carry no id (uml-facts, fact 5), so the socket is what
 * ties an answer to its request: it MUST serve this request only, and be gone before the next one can be mistaken.
 */
export class OutstandingRequest {
  readonly answered: Promise<string>;
  readonly #command: string;
  readonly #place: AskPlace;
  readonly #startedMs = performance.now();
  readonly #assembly = new ReplyAssembly();
  #socket: ReplySocket | undefined;
  #retryTimer: NodeJS.Timeout | undefined;
  #isSent = false;
  #isEnded = false;
  #resolve: (text: string) => void = () => {};
  #reject: (error: unknown) => void = () => {};

  constructor(place: AskPlace, command: string) {
    this.#place = place;
    this.#command = command;
    this.answered = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    // Whoever abandons a request need not look at its end.
    this.answered.catch(() => {});
  }

  /** True once the guest has the request: from then on it may take effect, answered or not. */
  get isSent(): boolean {
    return this.#isSent;
  }

  start(): void {
    try {
      const datagram = encodeRequest(this.#command);
      this.#socket = this.#place.replySocket();
      this.#socket.onDatagram((reply, sender) => this.#receive(reply, sender));
      this.#send(this.#socket, datagram, firstRetryMs);
    } catch (error) {
      this.#end(() => this.#reject(error));
    }
  }

  /** Ends it without an answer; `answered` is rejected with `reason`, by default GuestNotAnswering. */
  abandon(reason?: unknown): void {
    const { path: socketPath } = this.#place.guest;
    const waitedMs = Math.round(performance.now() - this.#startedMs);
    const error =
      reason ?? new UmlsnapError('GuestNotAnswering', { socketPath, command: this.#command, waitedMs });
    this.#end(() => this.#reject(error));
  }

  /**
   * Abandons it unless the answer is here already. Timers run before sockets are read, so after a blocked event loop
   * the answer may still lie in the queue: the sockets are looked at for as long as they give something.
   */
  expire(): void {
    const seen = this.#assembly.datagrams;
    setImmediate(() => {
      if (this.#assembly.datagrams > seen) this.expire();
      else this.abandon();
    });
  }

  #send(socket: ReplySocket, datagram: Buffer, retryMs: number): void {
    socket.send(datagram, this.#place.guest.sendPath, (error) => {
      if (error === undefined) this.#isSent = true;
      // The guest's queue is full: it takes more as soon as it reads.
      else if (errnoNameOf(error) === 'EAGAIN') {
        const nextMs = Math.min(2 * retryMs, longestRetryMs);
        this.#retryTimer = setTimeout(() => this.#send(socket, datagram, nextMs), retryMs);
      } else this.#end(() => this.#reject(this.#sendFailure(error)));
    });
  }

  #sendFailure(error: DatagramError): UmlsnapError {
    const { path: socketPath } = this.#place.guest;
    const name = errnoNameOf(error);
    if (name === 'EPROTOTYPE') {
      return new UmlsnapError('NotASocket', { socketPath, found: 'socket of another type' }, error);
    }
    if (name === 'EACCES' || name === 'EPERM') {
      return new UmlsnapError('SocketNotAllowed', { socketPath, cause: name }, error);
    }
    if (name === 'ECONNREFUSED' || name === 'ENOENT') {
      return new UmlsnapError('GuestSocketDead', { socketPath, command: this.#command }, error);
    }
    return new UmlsnapError('Internal', { problem: `sending to ${socketPath}: ${name}` }, error);
  }

  #receive(datagram: Buffer, sender: string | null): void {
    if (sender === null || !this.#place.guest.isSender(sender)) {
      this.#place.onForeignDatagram();
      return;
    }
    const step = this.#assembly.accept(datagram);
    if (step.kind === 'incomplete') return;
    const { path: socketPath } = this.#place.guest;
    const command = this.#command;
    this.#end(() => {
      if (step.kind === 'malformed') {
        this.#reject(new UmlsnapError('ReplyMalformed', { socketPath, command, problem: step.problem }));
      } else if (step.err === 0) this.#resolve(step.text);
      else
        this.#reject(
          new UmlsnapError('CommandRefused', { command, err: step.err, text: printableLine(step.text) }),
        );
    });
  }

  #end(settle: () => void): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    clearTimeout(this.#retryTimer);
    this.#socket?.close();
    settle();
    this.#place.onEnd(this);
  }
}
