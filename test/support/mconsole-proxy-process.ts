import { rmSync } from 'node:fs';
import { createSocket, type DatagramSocket } from 'unix-dgram';
import type { FromProxy, Order, ProxyEvent, Rule, ToProxy, What } from './mconsole-proxy-messages.js';

/** The process of mconsole-proxy.ts: passes requests and answers on, by rules, and notes when. */

const requestDataOffset = 12;
const answerDataOffset = 12;
/** How many requests' sockets stay open for late answers. */
const backsKept = 64;

interface Message {
  what: What;
  command: string;
  datagram: Buffer;
  pass(): boolean;
  /** Of a request: says this to who has sent it. */
  answer?(text: string): void;
}

class DatagramProxy {
  readonly events: ProxyEvent[] = [];
  readonly #front: DatagramSocket;
  #backs: { socket: DatagramSocket; path: string }[] = [];
  #requests = 0;
  readonly #guestSocketPath: string;
  readonly #listenPath: string;
  #rules: Rule[] = [];
  #held: Message[] = [];

  constructor(listenPath: string, guestSocketPath: string) {
    this.#listenPath = listenPath;
    this.#guestSocketPath = guestSocketPath;
    this.#front = this.#bind(listenPath, (datagram, clientPath) => this.#takeRequest(datagram, clientPath));
  }

  addRule(rule: Rule): void {
    this.#rules.push(rule);
  }

  release(command: string): void {
    this.#rules = this.#rules.filter((rule) => rule.act === 'delay' || rule.command !== command);
    const free = this.#held.filter((message) => message.command === command);
    this.#held = this.#held.filter((message) => message.command !== command);
    for (const message of free) this.#pass(message);
  }

  held(): ProxyEvent[] {
    return this.#held.map(({ what, command }) => ({ what, command, atMs: 0, passedOn: false }));
  }

  removeSockets(): void {
    for (const path of [this.#listenPath, ...this.#backs.map(({ path }) => path)])
      rmSync(path, { force: true });
  }

  #bind(path: string, take: (datagram: Buffer, senderPath: string) => void): DatagramSocket {
    const socket = createSocket('unix_dgram');
    socket.on('message', (datagram, sender) => take(datagram, sender.path ?? ''));
    socket.on('error', (error) => {
      throw error;
    });
    socket.bind(path);
    return socket;
  }

  #takeRequest(datagram: Buffer, clientPath: string): void {
    const command = textAfterHeader(datagram, requestDataOffset);
    const takeAnswer = (answer: Buffer) =>
      this.#byTheRules({
        what: 'answer',
        command,
        datagram: answer,
        pass: () => send(this.#front, answer, clientPath),
      });
    // A socket per request, so that whatever comes to it, however late, is an answer to this one.
    const back = this.#bindBack(takeAnswer);
    this.#byTheRules({
      what: 'request',
      command,
      datagram,
      pass: () => send(back, datagram, this.#guestSocketPath),
      answer: (text) => takeAnswer(answerOf(text)),
    });
  }

  #bindBack(take: (answer: Buffer) => void): DatagramSocket {
    this.#requests += 1;
    const path = `${this.#listenPath}.${this.#requests}`;
    const socket = this.#bind(path, take);
    this.#backs.push({ socket, path });
    for (const old of this.#backs.splice(0, Math.max(0, this.#backs.length - backsKept))) {
      old.socket.close();
      rmSync(old.path, { force: true });
    }
    return socket;
  }

  #byTheRules(message: Message): void {
    const rule = this.#rules.find(
      ({ command, what, times }) =>
        command === message.command && what === message.what && (times === undefined || times > 0),
    );
    if (rule?.times !== undefined) rule.times -= 1;
    if (rule?.act === 'drop') this.#note(message, false);
    else if (rule?.act === 'answer') {
      this.#note(message, false);
      message.answer?.(rule.text ?? '');
    } else if (rule?.act === 'hold') this.#held.push(message);
    else if (rule?.act === 'delay') setTimeout(() => this.#pass(message), rule.delayMs);
    else this.#pass(message);
  }

  #pass(message: Message): void {
    // The time is taken before the send: the receiver may be at work before it returns.
    const event = this.#note(message, true);
    event.passedOn = message.pass();
  }

  #note({ what, command, datagram }: Message, passedOn: boolean): ProxyEvent {
    const answer =
      what === 'answer'
        ? { err: datagram.readInt32LE(0), text: textAfterHeader(datagram, answerDataOffset) }
        : {};
    const event = { what, command, atMs: Number(process.hrtime.bigint()) / 1e6, passedOn, ...answer };
    this.events.push(event);
    return event;
  }
}

/** False when there is nobody to take it: a guest that is gone, a client that waits no more. */
function send(socket: DatagramSocket, datagram: Buffer, path: string): boolean {
  let sent = true;
  socket.send(datagram, 0, datagram.length, path, (error) => {
    sent = !error;
  });
  return sent;
}

/** As a guest's kernel says that all went well. */
function answerOf(text: string): Buffer {
  const data = Buffer.from(`${text}\0`);
  const header = Buffer.alloc(answerDataOffset);
  header.writeUInt32LE(data.length, answerDataOffset - 4);
  return Buffer.concat([header, data]);
}

function textAfterHeader(datagram: Buffer, offset: number): string {
  const lengthBytes = datagram.readUInt32LE(offset - 4);
  return datagram.toString('utf8', offset, offset + lengthBytes).replace(/\0+$/, '');
}

let proxy: DatagramProxy | undefined;

function obey(order: Order): ProxyEvent[] {
  if (order.order === 'rule') proxy?.addRule(order.rule);
  if (order.order === 'release') proxy?.release(order.command);
  if (order.order === 'held') return proxy?.held() ?? [];
  return order.order === 'events' ? (proxy?.events ?? []) : [];
}

process.on('message', (asked: ToProxy) => {
  if ('listenPath' in asked) proxy = new DatagramProxy(asked.listenPath, asked.guestSocketPath);
  const answer: FromProxy = { id: asked.id, events: 'order' in asked ? obey(asked) : [] };
  process.send?.(answer);
});

process.on('disconnect', () => {
  proxy?.removeSockets();
  process.exit(0);
});
