import { execFile } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { chmod, mkdir, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test, vi } from 'vitest';
import { MconsoleClient } from '../../src/mconsole/mconsole-client.js';
import { withFakeGuest } from '../fixtures/fake-guest.js';
import { builtScript } from '../support/script-child.js';
import { withTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';

const options = { timeoutMs: 10_000 };
const nobody = 65534;
const isRoot = process.getuid?.() === 0;
if (!isRoot) console.warn('SKIPPED, needs root: mconsole sockets of other users');

/** A directory whose name makes `DIR/mconsole` exactly this long. */
function directoryFor(base: string, socketPathBytes: number): string {
  return join(base, 'd'.repeat(socketPathBytes - Buffer.byteLength(base) - '//mconsole'.length));
}

test.each([
  [
    'over 107 bytes, and not cut to that of another guest',
    (dir: string) => join(directoryFor(dir, 108), 'mconsole'),
  ],
  ['that long in bytes, though not in characters', (dir: string) => join(dir, 'é'.repeat(54))],
])('a path %s is refused', (_, pathIn) =>
  withTempDir(async (dir) => {
    const lengthBytes = Buffer.byteLength(pathIn(dir));
    await expect(MconsoleClient.open(pathIn(dir))).rejects.toMatchObject({
      ...{ code: 'SocketPathTooLong', facts: { lengthBytes, maxBytes: 107 } },
    });
  }),
);

test('a path of 107 bytes is asked, although the package would have no room for one more', () =>
  withTempDir((dir) =>
    withFakeGuest({ dir: directoryFor(dir, 107) }, async (guest) => {
      expect(guest.socketPath.length).toBe(107);
      const client = await MconsoleClient.open(guest.socketPath);
      expect(await client.request('version', options)).toContain('Linux');
      client.close();
    }),
  ));

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
  }));

test('a socket of the stream kind is told from a dead guest', () =>
  withTempDir(async (dir) => {
    const socketPath = join(dir, 'stream');
    const server = createServer().listen(socketPath);
    const client = await MconsoleClient.open(socketPath);
    await expect(client.request('version', options)).rejects.toMatchObject({ code: 'NotASocket' });
    client.close();
    server.close();
  }));

test.runIf(isRoot)("another user's socket that we may not write to is refused before anything is sent", () =>
  withTempDir((dir) =>
    withFakeGuest({ dir }, async (guest) => {
      await chmod(dir, 0o755);
      await expect(openAs(nobody, guest.socketPath)).resolves.toContain('SocketNotAllowed');
      await chmod(dir, 0o700);
      await expect(openAs(nobody, guest.socketPath)).resolves.toContain('SocketNotAllowed');
      expect(guest.received()).toEqual([]);
    }),
  ),
);

test.runIf(isRoot)('a guest that runs as another user than we can answer us', () =>
  withTempDir(async (dir) => {
    await chmod(dir, 0o777);
    await withFakeGuest({ dir, uid: nobody }, async (guest) => {
      const client = await MconsoleClient.open(guest.socketPath);
      expect(await client.request('version', options)).toContain('Linux');
      client.close();
    });
  }),
);

test('no file of ours is left when a client is closed, or when its process ends without that', () =>
  withTempDir((dir) =>
    withFakeGuest({ dir: join(dir, 'g') }, async (guest) => {
      vi.stubEnv('XDG_RUNTIME_DIR', dir);
      const client = await MconsoleClient.open(guest.socketPath);
      const ask = client.ask('version');
      const [ours] = namesOfOurs(dir);
      expect(readdirSync(join(dir, ours ?? 'none'))).toHaveLength(1);
      await ask.answered;
      await waitFor('its socket to go', () => readdirSync(join(dir, ours ?? 'none')).length === 0);
      client.bindAhead(2);
      expect(readdirSync(join(dir, ours ?? 'none'))).toHaveLength(2);
      expect(await client.request('version', options)).toContain('Linux');
      await waitFor('its socket to go', () => readdirSync(join(dir, ours ?? 'none')).length === 1);
      client.close();
      client.close();
      expect(namesOfOurs(dir)).toEqual([]);
      expect(await openAs(process.getuid?.() ?? 0, guest.socketPath)).toBe('opened');
      expect(namesOfOurs(dir)).toEqual([]);
      vi.unstubAllEnvs();
    }),
  ));

function namesOfOurs(dir: string): string[] {
  return readdirSync(dir).filter((name) => name.startsWith('umlsnap-'));
}

/** Opens the socket in a process of this user's, which ends without closing it. */
async function openAs(uid: number, socketPath: string): Promise<string> {
  const script = builtScript(new URL('./open-as-child.ts', import.meta.url));
  return (await promisify(execFile)(process.execPath, [script, String(uid), socketPath])).stdout;
}
