import { decodeReply } from './packet.js';

const maxDatagrams = 128;
const maxTextBytes = 64 * 1024;

export type AssemblyStep =
  | { kind: 'incomplete' }
  | { kind: 'complete'; err: number; text: string }
  | { kind: 'malformed'; problem: string };

/** Puts the datagrams of one reply together, within the limits that a hostile guest is held to (design §10). */
export class ReplyAssembly {
  readonly #texts: Buffer[] = [];
  #textBytes = 0;
  #err = 0;

  /** Datagrams taken so far. */
  get datagrams(): number {
    return this.#texts.length;
  }

  /** Takes the next datagram; after `complete` or `malformed` there MUST be none. */
  accept(datagram: Buffer): AssemblyStep {
    const reply = decodeReply(datagram);
    if (reply.kind === 'malformed') return reply;
    this.#texts.push(reply.text);
    this.#textBytes += reply.text.length;
    if (this.#textBytes > maxTextBytes)
      return { kind: 'malformed', problem: `more than ${maxTextBytes} bytes` };
    // A kernel puts the error on the first datagram of a text; `proc` can fail after parts that went well.
    this.#err ||= reply.err;
    if (!reply.more) return { kind: 'complete', err: this.#err, text: Buffer.concat(this.#texts).toString() };
    if (this.#texts.length >= maxDatagrams) {
      return { kind: 'malformed', problem: `no end after ${maxDatagrams} datagrams` };
    }
    return { kind: 'incomplete' };
  }
}
