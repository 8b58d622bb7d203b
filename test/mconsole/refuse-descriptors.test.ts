import { createServer } from 'node:http';
import { release } from 'node:os';
import { join } from 'node:path';
import { createSocket } from 'unix-dgram';
import { expect, test } from 'vitest';
import { listenOn } from '../../src/control/control-socket.js';
import { bindNotifySocket } from '../../src/mconsole/notify-socket.js';
import { ReplyDirectory } from '../../src/mconsole/reply-directory.js';
import { ReplySocket } from '../../src/mconsole/reply-socket.js';
import { startScript } from '../support/script-child.js';
import { tempDirOfFile } from '../support/temp-dir-of-file.js';
import { sendDescriptor } from './send-descriptor.js';

const dir = tempDirOfFile();
const [major = 0, minor = 0] = release().split('.').map(Number);
const canRefuse = major > 6 || (major === 6 && minor >= 16);

test.runIf(canRefuse)(
  'no socket of ours takes descriptors, the last of which could hold us up for as long as its sender likes',
  async () => {
    const ordinary = createSocket('unix_dgram');
    ordinary.bind(join(dir, 'ordinary'));
    expect(sendDescriptor('datagram', join(dir, 'ordinary'))).toBe('sent');
    ordinary.close();

    const replies = await ReplyDirectory.make(process.geteuid?.() ?? 0);
    const reply = ReplySocket.bind(replies);
    expect(sendDescriptor('datagram', reply.path)).toBe('EPERM');
    reply.close();
    replies.remove();

    const notify = await bindNotifySocket({ socketPath: join(dir, 'notify'), holder: 'this test' });
    expect(sendDescriptor('datagram', join(dir, 'notify'))).toBe('EPERM');
    notify.socket.close();
    await notify.directory.close();

    const server = createServer();
    await listenOn(server, { socketPath: join(dir, 'control'), group: null });
    expect(sendDescriptor('stream', join(dir, 'control'))).toBe('EPERM');
    server.closeAllConnections();
    server.close();
  },
);

test('where the kernel has no such refusal, what comes in is closed all the same, and holds nobody up', async () => {
  const child = startScript(new URL('slow-close-child.ts', import.meta.url), [join(dir, 'slow')]);
  await child.waitForLine('goes on').catch((error) => {
    child.kill('SIGKILL');
    throw error;
  });
  expect(await child.exited).toMatchObject({ exitCode: 0, signal: null });
  // Or the signal that breaks a close off could be what ends the process.
  expect(child.lines).toEqual(['sent', 'goes on', 'without a timer']);
});
