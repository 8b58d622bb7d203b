import { constants } from 'node:os';
import koffi from 'koffi';
import { problemOf, UmlsnapError } from '../errors.js';
import { lastError } from '../image/last-error.js';
import { errnoNameOf } from './datagram-error.js';
import { encodeRequest, maxReplyBytes } from './packet.js';
import { PinnedSocket } from './pinned-socket.js';
import { printableLine } from './printable.js';
import { ReplyAssembly } from './reply-assembly.js';
import { ReplyDirectory } from './reply-directory.js';
import { ReplySocket } from './reply-socket.js';

const POLLIN = 1;
const MSG_DONTWAIT = 0x40;
/** struct sockaddr_un: the family, and a path of 108 bytes. */
const addressBytes = 110;
const addressFamilyBytes = 2;
/** struct pollfd { int fd; short events, revents } */
const pollfdBytes = 8;
/** Between two looks at what else there is to do; poll(2) counts in milliseconds. */
const sliceMs = 1;
/** One that is full has a byte to spare: a datagram that was cut would look as if it were whole. */
const datagram = Buffer.alloc(maxReplyBytes + 1);
const address = Buffer.alloc(addressBytes);
const addressLength = new Uint32Array(1);

const libc = koffi.load(null);
const poll = libc.func('int poll(void *fds, unsigned long count, int timeoutMs)');
const recvfrom = libc.func(
  'int64_t recvfrom(int fd, void *buffer, size_t size, int flags, void *address, void *addressLength)',
);

/** What became of a request. `full`: it was not sent, since the guest's queue has no room; `dead`: nobody listens there. */
export type Answer =
  | { type: 'ok'; text: string }
  | { type: 'refused'; err: number; text: string }
  | { type: 'malformed'; problem: string }
  | { type: 'dead' }
  | { type: 'full' };

/** A request that is on its way. `answer` is set once it is there. */
export interface SentRequest {
  readonly command: string;
  answer: Answer | null;
}

interface OpenRequest extends SentRequest {
  /** Told of an answer that comes after nobody waits for it any more. */
  late?: (answer: Answer) => void;
  socket: ReplySocket;
  assembly: ReplyAssembly;
  /** Who has sent a part of its answer: each look at a name costs a system call. */
  sender: string | null;
}

/**
 * Speaks mconsole with one guest without an event loop: an answer is waited for in the system call, so that nothing stands between
 * it and what is done about it. For the pause; whatever may take long belongs to `MconsoleClient`. Each request has a socket of its
 * own, for answers carry no id (uml-facts, fact 5).
 */
export class BlockingConsole {
  readonly #guest: PinnedSocket;
  readonly #replies: ReplyDirectory;
  readonly #spare: ReplySocket[] = [];
  readonly #used: ReplySocket[] = [];
  readonly #open: OpenRequest[] = [];

  /** Pins the guest's socket; sends nothing. To be closed. @throws the errors of MconsoleClient.open */
  static async open(socketPath: string): Promise<BlockingConsole> {
    const guest = await PinnedSocket.open(socketPath);
    try {
      return new BlockingConsole(guest, await ReplyDirectory.make(guest.ownerUid));
    } catch (error) {
      guest.close();
      throw error;
    }
  }

  private constructor(guest: PinnedSocket, replies: ReplyDirectory) {
    this.#guest = guest;
    this.#replies = replies;
  }

  get socketPath(): string {
    return this.#guest.path;
  }

  /** Binds the sockets of the next requests: each takes a good part of a millisecond. @throws StateUnusable */
  bindAhead(requests: number): void {
    while (this.#spare.length < requests) this.#spare.push(ReplySocket.bind(this.#replies));
  }

  /**
   * Sends a request, and waits for nothing.
   * @throws RequestTooLarge, SocketNotAllowed, StateUnusable where there is no place for the answer
   */
  send(command: string): SentRequest {
    const socket = this.#spare.pop() ?? ReplySocket.bind(this.#replies);
    this.#used.push(socket);
    const assembly = new ReplyAssembly();
    const request: OpenRequest = { command, answer: null, socket, assembly, sender: null };
    // Where the event loop gets to run while the answer is open, it takes the datagrams before us.
    socket.onDatagram((bytes, sender) => this.#take(request, bytes, sender));
    socket.send(encodeRequest(command), this.#guest.sendPath, (error) => {
      if (error) request.answer = this.#unsent(errnoNameOf(error), error);
    });
    if (request.answer === null) this.#open.push(request);
    return request;
  }

  /**
   * Waits until each of the requests is answered, or one of them where `any` is wanted.
   * @param untilMs on the monotonic clock
   * @param meanwhile is called every millisecond, and says whether to go on waiting
   * @returns whether what was waited for is there
   */
  wait(
    requests: SentRequest[],
    untilMs: number,
    { any = false, meanwhile }: { any?: boolean; meanwhile?: () => boolean } = {},
  ): boolean {
    const isThere = () =>
      any ? requests.some(({ answer }) => answer !== null) : requests.every(({ answer }) => answer !== null);
    for (;;) {
      if (isThere()) return true;
      const leftMs = untilMs - performance.now();
      this.#poll(requests, leftMs <= 0 ? 0 : meanwhile ? sliceMs : Math.ceil(leftMs));
      if (isThere()) return true;
      if (leftMs <= 0 || meanwhile?.() === false) return false;
    }
  }

  /**
   * Sends a request, as soon as there is room for it in the guest's queue, and waits for its answer.
   * @returns the request, whose answer is null when there was none in time, and `full` when there was no room
   */
  ask(command: string, limitMs: number, meanwhile?: () => boolean): SentRequest {
    const untilMs = performance.now() + limitMs;
    let request = this.send(command);
    while (request.answer?.type === 'full' && performance.now() < untilMs) {
      this.#poll([], sliceMs);
      if (meanwhile?.() === false) break;
      request = this.send(command);
    }
    this.wait([request], untilMs, meanwhile ? { meanwhile } : {});
    return request;
  }

  /** For a request that nobody waits for any more: its answer is heard all the same, as long as the event loop runs. */
  hearLate(command: string, heard: (answer: Answer) => void): void {
    for (const request of this.#open) if (request.command === command) request.late = heard;
  }

  /** Stops listening for an answer. */
  drop(request: SentRequest): void {
    const open = this.#open.find((one) => one === request);
    if (!open) return;
    this.#open.splice(this.#open.indexOf(open), 1);
    this.#used.splice(this.#used.indexOf(open.socket), 1);
    open.socket.close();
  }

  /** Closes the sockets that were used; takes longer than a guest that stands still should wait. */
  forget(): void {
    this.#open.length = 0;
    for (const socket of this.#used.splice(0)) socket.close();
  }

  close(): void {
    this.forget();
    for (const socket of this.#spare.splice(0)) socket.close();
    this.#guest.close();
    this.#replies.remove();
  }

  #poll(requests: SentRequest[], timeoutMs: number): void {
    const open = this.#open.filter((request) => request.answer === null && requests.includes(request));
    const pollfds = Buffer.alloc(pollfdBytes * open.length);
    for (const [index, { socket }] of open.entries()) {
      pollfds.writeInt32LE(socket.fd, index * pollfdBytes);
      pollfds.writeInt16LE(POLLIN, index * pollfdBytes + 4);
    }
    if (poll(pollfds, open.length, timeoutMs) <= 0) return;
    for (const [index, request] of open.entries()) {
      if (pollfds.readInt16LE(index * pollfdBytes + 6) !== 0) this.#receive(request);
    }
  }

  #receive(request: OpenRequest): void {
    while (request.answer === null) {
      addressLength[0] = addressBytes;
      const { fd } = request.socket;
      const got = Number(recvfrom(fd, datagram, datagram.length, MSG_DONTWAIT, address, addressLength));
      if (got < 0) {
        const { errno } = lastError('recvfrom');
        if (errno === -constants.errno.EINTR) continue;
        // Nothing more of it is there yet.
        return;
      }
      this.#take(request, Buffer.from(datagram.subarray(0, got)), senderOf(addressLength[0] ?? 0));
    }
  }

  #take(request: OpenRequest, bytes: Buffer, sender: string | null): void {
    if (request.answer !== null || sender === null) return;
    if (sender !== request.sender && !this.#guest.isSender(sender)) return;
    request.sender = sender;
    const step = request.assembly.accept(bytes);
    if (step.kind === 'incomplete') return;
    if (step.kind === 'malformed') request.answer = { type: 'malformed', problem: step.problem };
    else if (step.err === 0) request.answer = { type: 'ok', text: step.text };
    else request.answer = { type: 'refused', err: step.err, text: printableLine(step.text) };
    request.late?.(request.answer);
  }

  /** @throws what no guest that stands still can be blamed for */
  #unsent(name: string, error: unknown): Answer {
    const { path: socketPath } = this.#guest;
    if (name === 'EAGAIN') return { type: 'full' };
    if (name === 'ECONNREFUSED' || name === 'ENOENT') return { type: 'dead' };
    if (name === 'EACCES' || name === 'EPERM')
      throw new UmlsnapError('SocketNotAllowed', { socketPath, cause: name }, error);
    throw new UmlsnapError('Internal', { problem: `sending to ${socketPath}: ${problemOf(error)}` }, error);
  }
}

/** The sender's path in `address`; null when its socket has none. */
function senderOf(lengthBytes: number): string | null {
  if (lengthBytes <= addressFamilyBytes || address[addressFamilyBytes] === 0) return null;
  const end = address.indexOf(0, addressFamilyBytes);
  return address.toString('utf8', addressFamilyBytes, end < 0 ? lengthBytes : Math.min(end, lengthBytes));
}
