import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createSocket, type DatagramSocket } from 'unix-dgram';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { listBoundSockets, parseProcNetUnix } from '../../src/guest/bound-sockets.js';
import { findConsoleProcess, listHeldConsoles } from '../../src/guest/console-process.js';
import { type FakeGuest, startFakeGuest } from '../fixtures/fake-guest.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';

let dir: string;
const guests: FakeGuest[] = [];
const sockets: DatagramSocket[] = [];
beforeEach(async () => {
  dir = await makeTempDir();
});
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.close();
  await Promise.all(guests.splice(0).map((guest) => guest.stop()));
  await removeTempDir(dir);
});

async function start(name: string, boundAs?: string): Promise<FakeGuest> {
  const guest = await startFakeGuest({ dir: join(dir, name), ...(boundAs !== undefined && { boundAs }) });
  guests.push(guest);
  return guest;
}

function bind(path: string): void {
  const socket = createSocket('unix_dgram');
  socket.bind(path);
  sockets.push(socket);
}

describe('the process behind a console', () => {
  test('is the one that holds its socket, whoever the pid file names', async () => {
    const guest = await start('g');
    await writeFile(join(dir, 'g/pid'), `${process.pid}\n`);
    expect(findConsoleProcess(guest.socketPath)?.pid).toBe(guest.pid);
    expect(listHeldConsoles()).toContainEqual({
      socketPath: guest.socketPath,
      main: expect.objectContaining({ pid: guest.pid }),
    });
  });

  test('is found too when it has bound the socket by a relative name', async () => {
    const guest = await start('g', './mconsole');
    expect(findConsoleProcess(guest.socketPath)?.pid).toBe(guest.pid);
  });

  test('is not one that has lost the path to another socket', async () => {
    const before = await start('g');
    await rm(before.socketPath);
    expect(findConsoleProcess(before.socketPath)).toBeUndefined();
    bind(before.socketPath);
    expect(findConsoleProcess(before.socketPath)?.pid).toBe(process.pid);
  });

  test('is not known of a socket that was moved, of a dead one, and of what is none', async () => {
    const guest = await start('g');
    await mkdir(join(dir, 'other'));
    await rename(guest.socketPath, join(dir, 'other/mconsole'));
    expect(findConsoleProcess(join(dir, 'other/mconsole'))).toBeUndefined();
    await guest.stop();
    expect(findConsoleProcess(join(dir, 'other/mconsole'))).toBeUndefined();
    await writeFile(join(dir, 'mconsole'), '');
    expect(findConsoleProcess(join(dir, 'mconsole'))).toBeUndefined();
  });
});

test('a name with newlines in it is one socket, and forges no other', async () => {
  await mkdir(join(dir, 'a\nb'));
  bind(join(dir, 'a\nb/mconsole'));
  const found = listBoundSockets().filter(({ path }) => path.startsWith(dir));
  expect(found).toEqual([expect.objectContaining({ path: join(dir, 'a\nb/mconsole') })]);
});

describe('where the kernel has no list, /proc/net/unix', () => {
  const head = 'Num       RefCount Protocol Flags    Type St Inode Path';
  const line = (inode: number, type: string, path = '') =>
    `00000000d9308373: 00000003 00000000 00000000 ${type} 01 ${inode}${path && ` ${path}`}`;

  test('gives the datagram sockets that are files', () => {
    const text = [head, line(1, '0001', '/a/mconsole'), line(2, '0002'), line(3, '0002', '@x/mconsole')];
    const found = parseProcNetUnix([...text, line(4, '0002', '/b c/mconsole'), ''].join('\n'));
    expect(found).toEqual([{ inode: 4, path: '/b c/mconsole', fileInode: null }]);
  });

  test('gives nothing of an inode that stands there twice: one of the lines is the end of a name', () => {
    const forged = line(7, '0002', `/x\n${line(8, '0002', '/evil/mconsole')}`);
    const found = parseProcNetUnix([head, line(8, '0001'), forged].join('\n'));
    expect(found).toEqual([{ inode: 7, path: '/x', fileInode: null }]);
  });
});
