import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  renameSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createSocket } from 'unix-dgram';
import { expect, test } from 'vitest';
import type { Notification } from '../../src/mconsole/notification.js';
import { listenerLock, NotifyListener } from '../../src/mconsole/notify-listener.js';
import { canTrace, withInjected } from '../capture/traced.js';
import { startScript } from '../support/script-child.js';
import { withTempDir } from '../support/temp-dir.js';
import { tempDirOfFile } from '../support/temp-dir-of-file.js';
import { waitFor } from '../support/wait-for.js';
import { notificationDatagram, sendTo } from './notification-datagrams.js';

const isRoot = process.getuid?.() === 0;
const dir = tempDirOfFile();
const path = join(dir, 'n', 'one.sock');

const send = (...datagrams: Buffer[]) => sendTo(path, ...datagrams);

const listen = <T>(use: (listener: NotifyListener) => Promise<T>, more = {}) =>
  NotifyListener.listenWhile(
    { socketPath: path, lock: listenerLock(join(dir, 'state'), path), holder: 'this test', ...more },
    use,
  );

const untilGarbageIsHeard = async (listener: NotifyListener) => {
  await send(Buffer.from('garbage'));
  await waitFor('the garbage', () => listener.dropped.malformed === 1);
};

test('a notify socket takes the place of a killed listener`s, hears what is sent, is ours alone, and leaves no name behind', async () => {
  await listen(async () => {});
  const left = createSocket('unix_dgram');
  left.bind(path);
  left.close();
  expect(existsSync(path)).toBe(true);
  await listen(async (listener) => {
    const heard: Notification[] = [];
    const stop = listener.subscribe((notification) => heard.push(notification));
    await send(notificationDatagram(3, 'hello'));
    await waitFor('the notification', () => heard.length === 1);
    expect(heard).toEqual([{ type: 'message', text: 'hello' }]);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(statSync(join(dir, 'n')).mode & 0o777).toBe(0o700);
    stop();
    await send(notificationDatagram(3, 'again'));
    await untilGarbageIsHeard(listener);
    expect(heard).toHaveLength(1);
  });
  expect(existsSync(path)).toBe(false);
});

test('it has one listener: a second one of ours, and one beside somebody else, is refused', async () => {
  await listen(async (first) => {
    const second = listen(async () => expect.unreachable());
    await expect(second).rejects.toMatchObject({ code: 'Busy', facts: { holder: 'this test' } });
    await untilGarbageIsHeard(first);
  });
  const foreign = createSocket('unix_dgram');
  foreign.bind(path);
  const beside = listen(async () => expect.unreachable()).finally(() => foreign.close());
  await expect(beside).rejects.toMatchObject({ code: 'Busy' });
  expect(existsSync(path)).toBe(true);
});

test('it does not take the place of a file, and has a path that the kernel takes whole', async () => {
  const file = join(dir, 'file');
  await writeFile(file, 'precious');
  const inItsPlace = listen(async () => {}, { socketPath: file });
  await expect(inItsPlace).rejects.toMatchObject({ code: 'NotifyUnusable' });
  expect(existsSync(file)).toBe(true);
  const socketPath = join(dir, 'x'.repeat(107));
  await expect(listen(async () => {}, { socketPath })).rejects.toMatchObject({ code: 'SocketPathTooLong' });
});

test.runIf(isRoot)("it lets another user's guest in, and nobody else", async () => {
  const socketPath = join(dir, 'other', 's');
  const ofGuest = { socketPath, guestUid: 12345 };
  const problem = `user 12345, who runs the guest, may not pass ${dir}`;
  const refused = { code: 'NotifyUnusable', facts: { problem } };
  await expect(listen(async () => {}, ofGuest)).rejects.toMatchObject(refused);
  chmodSync(dir, 0o711);
  await listen(async () => {
    expect(statSync(socketPath)).toMatchObject({ uid: 12345 });
    expect(statSync(socketPath).mode & 0o777).toBe(0o600);
    expect(statSync(join(dir, 'other')).mode & 0o777).toBe(0o711);
  }, ofGuest);
});

test.runIf(isRoot && (await canTrace()))(
  'a link put in the place of a socket gives its maker nothing: in his own directory he is free to do that at any moment',
  () =>
    withTempDir(async (own) => {
      const [socketPath, victim] = [join(own, 's'), join(own, 'victim')];
      await writeFile(victim, 'precious', { mode: 0o600 });
      chownSync(own, 12345, -1);
      const script = new URL('./notify-rights-child.ts', import.meta.url);
      const child = startScript(script, [socketPath, '12345']);
      try {
        await child.waitForLine('ready');
        // For as long as it is traced.
        const slowly = 'chown,fchownat,chmod,fchmodat:delay_enter=60000000';
        const inTheMaking = () => readdirSync(own).find((name) => name.startsWith('.umlsnap-'));
        await withInjected(child.pid, [slowly], async () => {
          child.go();
          const isBound = () => inTheMaking() && existsSync(join(own, inTheMaking() ?? '', 'socket'));
          await waitFor('the socket to be bound, and to have no rights yet', isBound);
          const theirs = join(own, inTheMaking() ?? '');
          renameSync(theirs, join(own, 'moved'));
          mkdirSync(theirs);
          symlinkSync(victim, join(theirs, 'socket'));
        });
        await child.waitForLine('listening');
        expect(lstatSync(victim)).toMatchObject({ uid: 0, mode: 0o100600 });
      } finally {
        child.kill('SIGKILL');
        await child.exited;
      }
    }),
);

test('a flood of garbage is taken for what it is, without growing by it, and what comes after it is heard (fault 70)', () =>
  listen(async (listener) => {
    const heard: Notification[] = [];
    listener.subscribe((notification) => heard.push(notification));
    const garbage = randomBytes(4000);
    const flood = Array.from({ length: 10_000 }, (_, n) => garbage.subarray((n * 7919) % 4000));
    const rssBefore = process.memoryUsage().rss;
    await send(...flood, notificationDatagram(3, 'and now something'));
    await waitFor('the message after the flood', () => heard.length === 1);
    const { malformed, tooLarge } = listener.dropped;
    expect(malformed + tooLarge).toBe(10_000);
    expect(process.memoryUsage().rss - rssBefore).toBeLessThan(50 * 2 ** 20);
  }));
