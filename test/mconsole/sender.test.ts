import { execFileSync } from 'node:child_process';
import { rename, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { expect, test } from 'vitest';
import { MconsoleClient } from '../../src/mconsole/mconsole-client.js';
import { type FakeGuest, type FakeGuestOptions, withFakeGuest } from '../fixtures/fake-guest.js';
import type { ForeignSender } from '../fixtures/misbehaviour.js';
import { withTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';

const patient = { timeoutMs: 20_000 };

function withClient(
  options: (dir: string) => FakeGuestOptions,
  use: (client: MconsoleClient, guest: FakeGuest, dir: string) => Promise<void>,
): Promise<void> {
  return withTempDir((dir) =>
    withFakeGuest(options(dir), async (guest) => {
      const client = await MconsoleClient.open(guest.socketPath);
      try {
        await use(client, guest, dir);
      } finally {
        client.close();
      }
    }),
  );
}

/** The one datagram that comes is counted as somebody else's, and the request goes on waiting. */
async function ignoresTheAnswer(client: MconsoleClient): Promise<void> {
  const ask = client.ask('version');
  await waitFor('the datagram', () => client.foreignDatagrams === 1);
  ask.abandon();
  await expect(ask.answered).rejects.toMatchObject({ code: 'GuestNotAnswering' });
}

const senders: ForeignSender[] = ['otherSocket', 'namelessSocket'];

test.each(senders)('an answer spoofed by a third process (%s) is ignored, and the true one taken', (sender) =>
  withClient(
    (dir) => ({
      dir,
      misbehave: [{ fault: { kind: 'foreignAnswers', sender, times: 3, thenTrueAnswer: true } }],
    }),
    async (client) => {
      expect(await client.request('version', patient)).toContain('Linux');
      expect(client.foreignDatagrams).toBe(3);
    },
  ),
);

test.each(senders)(
  'an answer spoofed by a third process (%s) does not stand in for one that is missing',
  (sender) =>
    withClient(
      (dir) => ({
        dir,
        misbehave: [{ fault: { kind: 'foreignAnswers', sender, times: 1, thenTrueAnswer: false } }],
      }),
      async (client) => {
        await ignoresTheAnswer(client);
      },
    ),
);

test('a socket put in the place of the one that was opened gets none of our requests', () =>
  withClient(
    (dir) => ({ dir: join(dir, 'guest') }),
    async (client, guest, dir) => {
      await client.request('stop', patient);
      expect(await client.isReplaced()).toBe(false);
      await withFakeGuest({ dir: join(dir, 'impostor') }, async (impostor) => {
        await rename(impostor.socketPath, guest.socketPath);
        expect(await client.isReplaced()).toBe(true);
        expect(await client.request('go', patient)).toBe('');
        expect(guest.isPaused()).toBe(false);
        expect(impostor.received()).toEqual([]);
      });
    },
  ));

test('a guest whose socket was unlinked while it was stopped can still be resumed', () =>
  withClient(
    (dir) => ({ dir }),
    async (client, guest) => {
      await client.request('stop', patient);
      await rm(guest.socketPath);
      expect(await client.isReplaced()).toBe(true);
      expect(await client.request('go', patient)).toBe('');
    },
  ));

test('a guest that bound its socket by another spelling of the path is known by the inode', () =>
  withClient(
    (dir) => ({ dir, boundAs: `${dir}/../${basename(dir)}/./mconsole` }),
    async (client) => {
      expect(await client.request('version', patient)).toContain('Linux');
    },
  ));

test('a guest that bound its socket by a relative path is known by the inode', () =>
  withClient(
    (dir) => ({ dir, boundAs: 'mconsole' }),
    async (client) => {
      expect(await client.request('version', patient)).toContain('Linux');
    },
  ));

test.each([
  ['missing', ''],
  ['of another process', `${process.pid}\n`],
  ['a lie', '../../etc'],
])('a relative sender counts for nothing when the pid file is %s', (_, content) =>
  withClient(
    (dir) => ({ dir, boundAs: 'mconsole' }),
    async (client, __, dir) => {
      await rm(join(dir, 'pid'));
      if (content) await writeFile(join(dir, 'pid'), content);
      await ignoresTheAnswer(client);
    },
  ),
);

test('a FIFO in the place of the pid file does not hang us', () =>
  withClient(
    (dir) => ({ dir, boundAs: 'mconsole' }),
    async (client, _, dir) => {
      await rm(join(dir, 'pid'));
      execFileSync('mkfifo', [join(dir, 'pid')]);
      await ignoresTheAnswer(client);
    },
  ));
