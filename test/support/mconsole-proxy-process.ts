import { rmSync } from 'node:fs';
import { createSocket, type DatagramSocket } from 'unix-dgram';
import { replyDatagram } from '../fixtures/reply-datagram.js';
import type { Order, ProxyEvent, ProxyState, Rule, What } from './mconsole-proxy-messages.js';

/** The process of mconsole-proxy.ts: passes requests and answers on, by rules, and notes when. */

/** Of requests and of answers: their header ends with the length of the data. */
const dataOffset = 12;
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

const [listenPath = '', guestSocketPath = ''] = process.argv.slice(2);
/** Those that were not told yet: a test that asks every few milliseconds is not sent all of them each time. */
let events: ProxyEvent[] = [];
let rules: Rule[] = [];
let held: Message[] = [];
const backs: { socket: DatagramSocket; path: string }[] = [];
let requests = 0;
const front = bind(listenPath, takeRequest);

function bind(path: string, take: (datagram: Buffer, senderPath: string) => void): DatagramSocket {
  const socket = createSocket('unix_dgram');
  socket.on('message', (datagram, sender) => take(datagram, sender.path ?? ''));
  socket.on('error', (error) => {
    throw error;
  });
  // Of a proxy that was killed here.
  rmSync(path, { force: true });
  socket.bind(path);
  return socket;
}

function takeRequest(datagram: Buffer, clientPath: string): void {
  const command = textOf(datagram);
  const takeAnswer = (answer: Buffer) =>
    byTheRules({
      ...{ what: 'answer', command, datagram: answer },
      pass: () => send(front, answer, clientPath),
    });
  const back = bindBack(takeAnswer);
  byTheRules({
    ...{ what: 'request', command, datagram },
    pass: () => send(back, datagram, guestSocketPath),
    answer: (text) => takeAnswer(replyDatagram(`${text}\0`)),
  });
}

/** A socket per request, so that whatever comes to it, however late, is an answer to this one. */
function bindBack(take: (answer: Buffer) => void): DatagramSocket {
  requests += 1;
  const path = `${listenPath}.${requests}`;
  const socket = bind(path, take);
  backs.push({ socket, path });
  for (const old of backs.splice(0, Math.max(0, backs.length - backsKept))) {
    old.socket.close();
    rmSync(old.path, { force: true });
  }
  return socket;
}

function byTheRules(message: Message): void {
  const rule = rules.find(
    ({ command, what, times }) => command === message.command && what === message.what && times !== 0,
  );
  if (rule?.times !== undefined) rule.times -= 1;
  if (rule?.act === 'hold') held.push(message);
  else if (rule?.act === 'drop' || rule?.act === 'answer') {
    note(message, false);
    if (rule.act === 'answer') message.answer?.(rule.text ?? '');
  } else pass(message);
}

function pass(message: Message): void {
  // The time is taken before the send: the receiver may be at work before it returns.
  const event = note(message, true);
  event.passedOn = message.pass();
}

function note({ what, command, datagram }: Message, passedOn: boolean): ProxyEvent {
  const answer = what === 'answer' ? { err: datagram.readInt32LE(0), text: textOf(datagram) } : {};
  const event = { what, command, atMs: Number(process.hrtime.bigint()) / 1e6, passedOn, ...answer };
  events.push(event);
  return event;
}

function release(command: string): void {
  rules = rules.filter((rule) => rule.command !== command);
  const free = held.filter((message) => message.command === command);
  held = held.filter((message) => message.command !== command);
  for (const message of free) pass(message);
}

/** False when there is nobody to take it: a guest that is gone, a client that waits no more. */
function send(socket: DatagramSocket, datagram: Buffer, path: string): boolean {
  let sent = true;
  socket.send(datagram, 0, datagram.length, path, (error) => {
    sent = !error;
  });
  return sent;
}

function textOf(datagram: Buffer): string {
  const lengthBytes = datagram.readUInt32LE(dataOffset - 4);
  return datagram.toString('utf8', dataOffset, dataOffset + lengthBytes).replace(/\0+$/, '');
}

process.on('message', (order: Order) => {
  if (typeof order === 'object' && 'rule' in order) rules.push(order.rule);
  if (typeof order === 'object' && 'release' in order) release(order.release);
  const state: ProxyState = { events, held: held.map(({ what, command }) => ({ what, command })) };
  process.send?.(state);
  events = [];
});

process.on('disconnect', () => {
  for (const path of [listenPath, ...backs.map((back) => back.path)]) rmSync(path, { force: true });
  process.exit(0);
});
