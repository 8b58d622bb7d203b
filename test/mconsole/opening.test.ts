import { readdirSync } from 'node:fs';
import { chmod, mkdir, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { MconsoleClient } from '../../src/mconsole/mconsole-client.js';
import { withFakeGuest } from '../fixtures/fake-guest.js';
import { startScript } from '../support/script-child.js';
import { withTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';
import { patient } from './with-client.js';

const nobody = 65534;
const isRoot = process.getuid?.() === 0;
if (!isRoot) console.warn('SKIPPED, needs root: mconsole sockets of other users');

/** That the guest there is asked, and answers. */
async function expectAnswer(socketPath: string): Promise<void> {
  const client = await MconsoleClient.open(socketPath);
  expect(await client.request('version', patient).finally(() => client.close())).toContain('Linux');
}

/** A directory whose name makes `DIR/mconsole` exactly this long. */
function directoryFor(base: string, socketPathBytes: number): string {
  return join(base, 'd'.repeat(socketPathBytes - Buffer.byteLength(base) - '//mconsole'.length));
}

test('a path of 107 bytes is asked, although the package would have no room for one more, and a longer one refused (fault 21)', () =>
  withTempDir(async (dir) => {
    await withFakeGuest({ dir: directoryFor(dir, 107) }, async ({ socketPath }) => {
      expect(socketPath.length).toBe(107);
      await expectAnswer(socketPath);
      // The first would be cut to the guest's; the other is that long in bytes, though not in characters.
      for (const tooLong of [join(directoryFor(dir, 107), 'mconsole2'), join(dir, 'é'.repeat(54))]) {
        const facts = { lengthBytes: Buffer.byteLength(tooLong), maxBytes: 107 };
        await expect(MconsoleClient.open(tooLong)).rejects.toMatchObject({
          code: 'SocketPathTooLong',
          facts,
        });
      }
    });
  }));

test('what is no socket is refused, and said to be what it is, be it nothing', () =>
  withTempDir(async (dir) => {
    await writeFile(join(dir, 'file'), '');
    await mkdir(join(dir, 'directory'));
    await symlink('file', join(dir, 'link'));
    const kinds = { file: 'file', directory: 'directory', link: 'symbolic link' };
    for (const [name, found] of Object.entries(kinds)) {
      const opened = MconsoleClient.open(join(dir, name));
      await expect(opened).rejects.toMatchObject({ code: 'NotASocket', facts: { found } });
    }
    const nowhere = MconsoleClient.open(join(dir, 'nowhere', 'mconsole'));
    await expect(nowhere).rejects.toMatchObject({ code: 'NoMconsoleSocket' });
    // Of the stream kind: it is no dead guest.
    const server = createServer().listen(join(dir, 'stream'));
    await expect(expectAnswer(join(dir, 'stream'))).rejects.toMatchObject({ code: 'NotASocket' });
    server.close();
  }));

test.runIf(isRoot)("another user's socket that we may not write to is refused before anything is sent", () =>
  withTempDir((dir) =>
    withFakeGuest({ dir }, async (guest) => {
      for (const mode of [0o755, 0o700]) {
        await chmod(dir, mode);
        expect(await openAs(nobody, guest.socketPath)).toBe('SocketNotAllowed');
      }
      expect(guest.received()).toEqual([]);
    }),
  ),
);

test.runIf(isRoot)('a guest that runs as another user than we can answer us', () =>
  withTempDir(async (dir) => {
    await chmod(dir, 0o1777);
    await withFakeGuest({ dir, uid: nobody }, ({ socketPath }) => expectAnswer(socketPath));
  }),
);

test('no file of ours is left when a client is closed, or when its process ends without that', () =>
  withTempDir((dir) =>
    withFakeGuest({ dir: join(dir, 'g') }, async (guest) => {
      vi.stubEnv('XDG_RUNTIME_DIR', dir);
      const namesOfOurs = () => readdirSync(dir).filter((name) => name.startsWith('umlsnap-'));
      const client = await MconsoleClient.open(guest.socketPath);
      const ask = client.ask('version');
      const [ours = 'none'] = namesOfOurs();
      const socketsLeft = () => readdirSync(join(dir, ours)).length;
      expect(socketsLeft()).toBe(1);
      await ask.answered;
      await waitFor('its socket to go', () => socketsLeft() === 0);
      client.close();
      client.close();
      expect(namesOfOurs()).toEqual([]);
      expect(await openAs(process.getuid?.() ?? 0, guest.socketPath)).toBe('opened');
      expect(namesOfOurs()).toEqual([]);
      vi.unstubAllEnvs();
    }),
  ));

/** Opens the socket in a process of this user's, which ends without closing it. */
async function openAs(uid: number, socketPath: string): Promise<string> {
  const child = startScript(new URL('./open-as-child.ts', import.meta.url), [String(uid), socketPath]);
  await child.exited;
  return child.lines.join();
}
