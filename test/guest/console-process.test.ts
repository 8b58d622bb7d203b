import { chownSync, closeSync, openSync } from 'node:fs';
import { mkdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createSocket, type DatagramSocket } from 'unix-dgram';
import { afterEach, describe, expect, test } from 'vitest';
import { listBoundSockets, parseProcNetUnix } from '../../src/guest/bound-sockets.js';
import { findConsoleProcess, listHeldConsoles } from '../../src/guest/console-process.js';
import { lowestDescriptorsOf } from '../../src/guest/process-files.js';
import { withOwnGuest } from '../mconsole/with-client.js';
import { withTempDir } from '../support/temp-dir.js';

const sockets: DatagramSocket[] = [];
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.close();
});

function bind(path: string): void {
  const socket = createSocket('unix_dgram');
  socket.bind(path);
  sockets.push(socket);
}

describe('the process behind a console', () => {
  test.each(['DIR/mconsole', './mconsole'])(
    'is the one that holds its socket, bound as %s, whoever the pid file names',
    (boundAs) =>
      withOwnGuest({ boundAs }, async (_, { socketPath, pid }, dir) => {
        await writeFile(join(dir, 'g/pid'), `${process.pid}\n`);
        const main = findConsoleProcess(socketPath);
        expect(main?.pid).toBe(pid);
        expect(listHeldConsoles()).toContainEqual({ socketPath, main });
      }),
  );

  test('is not one that has lost the path to another socket, and not known of a socket that was moved, is dead, or none', () =>
    withOwnGuest({}, async (_, guest, dir) => {
      const [file, moved] = [join(dir, 'mconsole'), join(dir, 'other/mconsole')];
      await mkdir(join(dir, 'other'));
      await rename(guest.socketPath, moved);
      expect(findConsoleProcess(guest.socketPath)).toBeUndefined();
      bind(guest.socketPath);
      expect(findConsoleProcess(guest.socketPath)?.pid).toBe(process.pid);
      expect(findConsoleProcess(moved)).toBeUndefined();
      await guest.stop();
      expect(findConsoleProcess(moved)).toBeUndefined();
      await writeFile(file, '');
      expect(findConsoleProcess(file)).toBeUndefined();
    }));

  test.runIf(process.getuid?.() === 0)(
    'is looked for among its owner`s, and by low descriptors: others have as many as they like',
    () =>
      withOwnGuest({}, async (_, guest) => {
        chownSync(guest.socketPath, 12345, 12345);
        expect(findConsoleProcess(guest.socketPath)).toBeUndefined();
        const many = Array.from({ length: 1500 }, () => openSync('/dev/null', 'r'));
        const looked = lowestDescriptorsOf(process.pid).map(Number);
        for (const fd of many) closeSync(fd);
        expect(looked).toHaveLength(1024);
        expect(Math.max(...looked)).toBeLessThan(Math.max(...many));
      }),
  );
});

test('a name with newlines in it is one socket, and forges no other', () =>
  withTempDir(async (dir) => {
    const path = join(dir, 'a\nb/mconsole');
    await mkdir(join(dir, 'a\nb'));
    bind(path);
    const found = listBoundSockets().filter((one) => one.path.startsWith(dir));
    expect(found).toEqual([expect.objectContaining({ path })]);
  }));

test('where the kernel has no list, /proc/net/unix gives the datagram sockets that are files, and no forged ones', () => {
  const head = 'Num       RefCount Protocol Flags    Type St Inode Path';
  const line = (inode: number, type: string, path = '') =>
    `00000000d9308373: 00000003 00000000 00000000 ${type} 01 ${inode}${path && ` ${path}`}`;

  // An inode that stands there twice: one of its lines is the end of a name.
  const forged = line(7, '0002', `/x\n${line(8, '0002', '/evil/mconsole')}`);
  const others = [line(1, '0001', '/a/mconsole'), line(2, '0002'), line(3, '0002', '@x/mconsole')];
  const text = [head, ...others, line(4, '0002', '/b c/mconsole'), line(8, '0001'), forged, ''].join('\n');
  expect(parseProcNetUnix(text)).toEqual([
    { inode: 4, path: '/b c/mconsole', fileInode: null },
    { inode: 7, path: '/x', fileInode: null },
  ]);
});
