import { chmodSync, existsSync, statSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createSocket } from 'unix-dgram';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Notification } from '../../src/mconsole/notification.js';
import { NotifyListener } from '../../src/mconsole/notify-listener.js';
import { startScript } from '../support/script-child.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';
import { notificationDatagram } from './notification-datagrams.js';

let dir: string;
let path: string;
beforeAll(async () => {
  dir = await makeTempDir();
  path = join(dir, 'n', 'one.sock');
});
afterAll(() => removeTempDir(dir));

function send(datagram: Buffer): void {
  const sender = createSocket('unix_dgram');
  try {
    sender.send(datagram, 0, datagram.length, path, (error) => {
      if (error) throw error;
    });
  } finally {
    sender.close();
  }
}

const listen = <T>(use: (listener: NotifyListener) => Promise<T>, more = {}) =>
  NotifyListener.listenWhile({ socketPath: path, holder: 'this test', ...more }, use);

describe('a notify socket', () => {
  test('hears what is sent, is ours alone, and leaves no name behind', async () => {
    await listen(async (listener) => {
      const heard: Notification[] = [];
      const stop = listener.subscribe((notification) => heard.push(notification));
      send(notificationDatagram(3, 'hello'));
      await waitFor('the notification', () => heard.length === 1);
      expect(heard).toEqual([{ type: 'message', text: 'hello' }]);
      expect(statSync(path).mode & 0o777).toBe(0o600);
      expect(statSync(join(dir, 'n')).mode & 0o777).toBe(0o700);
      stop();
      send(notificationDatagram(3, 'again'));
      send(Buffer.from('garbage'));
      await waitFor('the garbage', () => listener.dropped.malformed === 1);
      expect(heard).toHaveLength(1);
    });
    expect(existsSync(path)).toBe(false);
  });

  test('of a killed listener is taken over', async () => {
    const left = createSocket('unix_dgram');
    left.on('error', (error) => expect.unreachable(String(error)));
    left.bind(path);
    left.close();
    expect(existsSync(path)).toBe(true);
    await listen(async (listener) => {
      send(Buffer.from('x'));
      await waitFor('it', () => listener.dropped.malformed === 1);
    });
  });

  test('has one listener: a second one of ours, and one beside somebody else, is refused', async () => {
    await listen(async (first) => {
      const second = listen(async () => expect.unreachable());
      await expect(second).rejects.toMatchObject({ code: 'Busy', facts: { holder: 'this test' } });
      send(Buffer.from('x'));
      await waitFor('the first one to hear on', () => first.dropped.malformed === 1);
    });
    const foreign = createSocket('unix_dgram');
    foreign.bind(path);
    try {
      await expect(listen(async () => expect.unreachable())).rejects.toMatchObject({ code: 'Busy' });
      expect(existsSync(path)).toBe(true);
    } finally {
      foreign.close();
    }
  });

  test('does not take the place of a file, and has a path that the kernel takes whole', async () => {
    const file = join(dir, 'n', 'file');
    await writeFile(file, 'precious');
    await expect(listen(async () => {}, { socketPath: file })).rejects.toMatchObject({
      code: 'NotifyUnusable',
    });
    expect(existsSync(file)).toBe(true);
    const socketPath = join(dir, 'x'.repeat(107));
    await expect(listen(async () => {}, { socketPath })).rejects.toMatchObject({ code: 'SocketPathTooLong' });
  });

  test.runIf(process.getuid?.() === 0)("lets another user's guest in, and nobody else", async () => {
    const socketPath = join(dir, 'other', 's');
    const listening = listen(async () => {}, { socketPath, guestUid: 12345 });
    await expect(listening, 'he could not get there').rejects.toMatchObject({
      ...{
        code: 'NotifyUnusable',
        facts: { problem: `user 12345, who runs the guest, may not pass ${dir}` },
      },
    });
    chmodSync(dir, 0o711);
    await listen(
      async () => {
        expect(statSync(socketPath)).toMatchObject({ uid: 12345 });
        expect(statSync(socketPath).mode & 0o777).toBe(0o600);
        expect(statSync(join(dir, 'other')).mode & 0o777).toBe(0o711);
      },
      { socketPath, guestUid: 12345 },
    );
  });

  test('takes a flood of garbage for what it is, without growing by it, and still hears', async () => {
    await listen(async (listener) => {
      const heard: Notification[] = [];
      listener.subscribe((notification) => heard.push(notification));
      const rssBefore = process.memoryUsage().rss;
      const cpuBefore = process.cpuUsage();
      const child = startScript(new URL('./datagram-flood-child.ts', import.meta.url), [path, '10000']);
      await child.waitForLine('sent');
      send(notificationDatagram(3, 'and now something'));
      await waitFor('the message after the flood', () => heard.length === 1);
      const { user, system } = process.cpuUsage(cpuBefore);
      const { malformed, tooLarge } = listener.dropped;
      expect(malformed + tooLarge).toBe(10_000);
      expect(process.memoryUsage().rss - rssBefore).toBeLessThan(50 * 2 ** 20);
      // CPU time, not time on the clock: a busy machine makes no difference to it.
      expect((user + system) / 1000 / 10_000).toBeLessThan(1);
    });
  });
});
