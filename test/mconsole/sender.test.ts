import { execFileSync } from 'node:child_process';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { MconsoleClient } from '../../src/mconsole/mconsole-client.js';
import { waitFor } from '../support/wait-for.js';
import { patient, withOwnGuest } from './with-client.js';

/** The one datagram that comes is counted as somebody else's, and the request goes on waiting. */
async function ignoresTheAnswer(client: MconsoleClient, count: number): Promise<void> {
  const ask = client.ask('version');
  await waitFor('the datagram', () => client.foreignDatagrams === count);
  ask.abandon();
  await expect(ask.answered).rejects.toMatchObject({ code: 'GuestNotAnswering' });
}

test('a guest whose socket was unlinked while it was stopped can still be resumed', () =>
  withOwnGuest({}, async (client, guest) => {
    await client.request('stop', patient);
    expect(await client.isReplaced()).toBe(false);
    await rm(guest.socketPath);
    expect(await client.isReplaced()).toBe(true);
    expect(await client.request('go', patient)).toBe('');
  }));

test.each(['DIR/../g/./mconsole', 'mconsole'])(
  'a guest that bound its socket by another spelling of the path (%s) is known by the inode',
  (boundAs) =>
    withOwnGuest({ boundAs }, async (client) => {
      expect(await client.request('version', patient)).toContain('Linux');
    }),
);

test('a relative sender counts for nothing when the pid file is missing, of another process, a lie, or a FIFO', () =>
  withOwnGuest({ boundAs: 'mconsole' }, async (client, _, dir) => {
    const pidFile = join(dir, 'g/pid');
    for (const [count, content] of [null, `${process.pid}\n`, '../../etc', 'FIFO'].entries()) {
      await rm(pidFile, { force: true });
      if (content === 'FIFO') execFileSync('mkfifo', [pidFile]);
      else if (content !== null) await writeFile(pidFile, content);
      await ignoresTheAnswer(client, count + 1);
    }
  }));
