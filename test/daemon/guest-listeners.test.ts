import { existsSync } from 'node:fs';
import { chmod, chown, mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Config, GuestConfig } from '../../src/config/config.js';
import { resolveConfig } from '../../src/config/resolve.js';
import { GuestListeners } from '../../src/daemon/guest-listeners.js';
import type { GuestEvent } from '../../src/history/records.js';
import { HeldDispatcher } from '../control/dispatcher-of-tests.js';
import { withFakeGuest } from '../fixtures/fake-guest.js';
import { notificationDatagram, sendTo } from '../mconsole/notification-datagrams.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';

/** A daemon's listeners, with whoever has the guest's rights on the host at their sockets. */

let dir: string;
let config: Config;
let listeners: GuestListeners;
let logged: Record<string, unknown>[];
let events: GuestEvent[];
beforeEach(async () => {
  dir = await makeTempDir();
  await writeFile(join(dir, 'disk.img'), '');
  const disks = { ubd0: { path: join(dir, 'disk.img') } };
  const one = { mconsole: 'nowhere-here', disks, requests: ['snapshot' as const] };
  config = resolveConfig(join(dir, 'config.yaml'), { state: dir, guests: { one } });
  logged = [];
  events = [];
  const log = pino({ level: 'debug', base: null }, { write: (line) => void logged.push(JSON.parse(line)) });
  const recordEvent = async (event: GuestEvent) => void events.push(event);
  const history = { recordEvent, events: async () => [] };
  listeners = new GuestListeners({
    dispatcher: new HeldDispatcher().dispatcher,
    history,
    log,
    config: () => config,
  });
});
afterEach(async () => {
  await listeners.close();
  await removeTempDir(dir);
});

/** The daemon listens, with this of the guest in its config. */
async function listen(settings: Partial<GuestConfig> = {}): Promise<void> {
  config = { ...config, guests: { one: { ...guest(), ...settings } } };
  await listeners.follow();
  await listeners.sourceOf('one');
}

const guest = () => config.guests.one as GuestConfig;
/** Who can get to the guest's notify socket, as anybody can. */
async function giveDiskTo12345(): Promise<void> {
  await chown(join(dir, 'disk.img'), 12345, -1);
  await chmod(dir, 0o711);
}
const told = (message: RegExp) => logged.filter(({ msg }) => message.test(String(msg)));

const sendDatagram = (datagram: Buffer) => sendTo(guest().notify, datagram);
const send = (type: number, text: string) => sendDatagram(notificationDatagram(type, text));

test('a job that begins with the daemon waits for them, and so does not find the socket taken by them', async () => {
  const source = listeners.sourceOf('one');
  void listeners.follow();
  expect(await source).toBeDefined();
  expect(await listeners.sourceOf('nobody')).toBeUndefined();
});

/** The last one of many, which is heard when all before it have been. */
async function sendTheLast(): Promise<void> {
  await send(0, '/the/end');
  await waitFor('the last of it', () => told(/booted/).length === 1);
}

test('a flood of panics fills neither the log nor the history', async () => {
  await listen();
  for (let count = 0; count < 500; count++) await send(1, `panic ${count}`);
  await sendTheLast();
  expect(told(/panic/).length).toBeLessThan(60);
  expect(events.length).toBeLessThan(60);
});

test('datagrams that are no notifications are counted, and told in one line however many come', async () => {
  await listen();
  await sendDatagram(Buffer.from('garbage'));
  for (let count = 0; count < 3; count++) await sendDatagram(Buffer.alloc(10_000));
  await send(3, 'somebody else’s words');
  const line = await waitFor('word of them', () => told(/were dropped/)[0]);
  expect(line).toMatchObject({ guest: 'one', malformed: 0, malformedDatagrams: 1, tooLargeDatagrams: 3 });
  for (let count = 0; count < 100; count++) await sendDatagram(Buffer.from('garbage'));
  await sendTheLast();
  expect(told(/were dropped/)).toHaveLength(1);
});

const testAsRoot = test.runIf(process.getuid?.() === 0);

testAsRoot(
  'the socket is given to the user that the config names, and to the owner of the disk without one',
  async () => {
    await giveDiskTo12345();
    const nobody = Number(/^nobody:[^:]*:(\d+):/m.exec(await readFile('/etc/passwd', 'utf8'))?.[1]);
    await listen({ notifyOwner: 'nobody' });
    expect((await stat(guest().notify)).uid).toBe(nobody);
    await listeners.close();
    await listen({ notifyOwner: null });
    expect((await stat(guest().notify)).uid).toBe(12345);
  },
);

test('a user that does not exist is told, and his guest is not heard by anybody instead', async () => {
  await listen({ notifyOwner: 'no-such-user' });
  expect(told(/can't hear it yet: .*no user no-such-user/)).toHaveLength(1);
  expect(existsSync(guest().notify)).toBe(false);
});

test('a guest that says its console is where no file can be costs its answer, and nothing else', async () => {
  await listen();
  await send(0, `/${'x'.repeat(400)}/nowhere-here/mconsole`);
  await send(3, 'umlsnap request type=status id=7');
  await waitFor('word of it', () => told(/the guest was not told/)[0]);
  expect(listeners.informed(config).guests.one).toMatchObject({
    reportedConsole: expect.stringMatching(/^\/x+\//),
  });
});

testAsRoot('a guest that says its console is that of another user gets nothing told to him', async () => {
  await withFakeGuest({ dir: join(dir, 'nowhere-here') }, async (victim) => {
    await giveDiskTo12345();
    await listen();
    await send(0, join(dir, 'nowhere-here/mconsole'));
    await send(3, 'umlsnap request type=status id=7');
    await waitFor('word of it', () => told(/the guest was not told/)[0]);
    expect(victim.received()).toEqual([]);
    await chown(join(dir, 'disk.img'), 0, -1);
    await send(3, 'umlsnap request type=status id=8');
    await waitFor('the answer', () => victim.received().find(({ command }) => /reply id=8/.test(command)));
  });
});

test('a socket that was removed is made anew, and what has taken its name is left alone', async () => {
  await listen();
  await rm(guest().notify);
  await waitFor('another socket', () => existsSync(guest().notify));
  await waitFor('its listener', () => told(/listening/).length === 2);
  await send(3, 'hello again');
  await waitFor('the message', () => events.at(-1)?.text === 'hello again');
  await rm(guest().notify);
  await mkdir(guest().notify);
  await listeners.close();
  expect(existsSync(guest().notify)).toBe(true);
});
