import { once } from 'node:events';
import { existsSync, statSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ControlClient } from '../../src/control/control-client.js';
import { withControlServer } from '../../src/control/control-server.js';
import { controlSocketPath, groupIdOf } from '../../src/control/control-socket.js';
import type { DaemonStatus } from '../../src/control/daemon-status.js';
import { jsonLines } from '../support/cli.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';
import { HeldDispatcher } from './dispatcher-of-tests.js';

let dir: string;
let held: HeldDispatcher;
let socketPath: string;
beforeEach(async () => {
  dir = await makeTempDir();
  held = new HeldDispatcher();
  socketPath = controlSocketPath(dir);
});
afterEach(() => removeTempDir(dir));

function serve<T>(use: () => Promise<T>, group: string | null = null): Promise<T> {
  const { dispatcher, registry, settings } = held;
  const status = () => ({ jobs: registry.running(), requests: dispatcher.running() }) as DaemonStatus;
  return withControlServer({ dispatcher, registry, settings, socketPath, group, status }, use);
}

const served = (title: string, use: () => Promise<void>) => test(title, () => serve(use));

function startCurl(path: string, ...args: string[]) {
  const form = ['-w', '\n%{http_code}'];
  return execa('curl', ['-sS', '--unix-socket', socketPath, ...form, ...args, `http://umlsnap${path}`]);
}

/** What `curl` gets: the HTTP status, and the body. */
const curl = (path: string, ...args: string[]) => answerOf(startCurl(path, ...args));

async function answerOf(running: ReturnType<typeof startCurl>): Promise<{ code: number; body: string }> {
  const { stdout } = await running;
  const end = stdout.lastIndexOf('\n');
  return { code: Number(stdout.slice(end + 1)), body: stdout.slice(0, end) };
}

const data = (body: unknown) => ['-d', typeof body === 'string' ? body : JSON.stringify(body)];
const ask = (body: unknown) => curl('/requests', ...data(body));
const patch = (settings: object) => curl('/settings', '-X', 'PATCH', ...data(settings));
const untilHeld = () => waitFor('a request to be at work', () => held.heldCount > 0);

describe('curl on the control socket', () => {
  served('gets the answer of a request when it is done, with its exit status', async () => {
    const answer = ask({ type: 'snapshot', id: 7, text: 'debian' });
    await untilHeld();
    expect(JSON.parse((await curl('/status')).body)).toMatchObject({
      jobs: [{ job: 'job-1', guest: 'debian' }],
      requests: [{ id: 7, type: 'snapshot', requester: { from: 'host', pid: expect.any(Number) } }],
    });
    held.letGo();
    const { code, body } = await answer;
    const output = [{ type: 'summary', guest: 'debian', status: 'success' }];
    const answered = { type: 'answer', id: 7, status: 0, cut: false, output };
    expect({ code, ...JSON.parse(body) }).toEqual({ code: 200, ...answered });
    expect(held.dispatcher.running()).toEqual([]);
    expect(held.events).toEqual(['taken', 'answered']);
  });

  served('gets what failed as a command has it', async () => {
    const { body } = await ask({ type: 'verify', id: 8, text: 'a@latest' });
    const output = [{ type: 'error', code: 'NoSuchSnapshot' }];
    expect(JSON.parse(body)).toMatchObject({ id: 8, status: 10, output });
    expect(held.events).toEqual(['taken', 'failed']);
  });

  served('gets no answer for id 0, at once, and the work is done all the same', async () => {
    expect(await ask({ type: 1, id: 0, text: 'debian' })).toEqual({ code: 204, body: '' });
    await untilHeld();
    held.letGo();
    await waitFor('it to be done', () => held.events.includes('answered'));
    expect((await ask({ type: 9, id: 0 })).code).toBe(204);
    expect(held.events.at(-1)).toBe('refused');
  });

  served('follows a running job as a stream, from its beginning to its end', async () => {
    const answer = ask({ type: 1, id: 3, text: 'debian' });
    await untilHeld();
    const followers = [startCurl('/jobs/job-1/progress', '-N'), startCurl('/jobs/job-1/progress', '-N')];
    await Promise.all(followers.map(({ stdout }) => once(stdout, 'data')));
    held.letGo();
    for (const { code, body } of await Promise.all(followers.map(answerOf))) {
      expect(code).toBe(200);
      expect(jsonLines(body)).toMatchObject([{ type: 'progress' }, { type: 'summary' }]);
    }
    await answer;
    const body = expect.stringContaining('NoSuchJob');
    expect(await curl('/jobs/job-1/progress')).toMatchObject({ code: 404, body });
  });

  served('sees and changes the settings, all of them or none', async () => {
    // As it was for kerneld: every type up to 255.
    const byDefault = { debug: false, keep: false, delaySeconds: 60, type: -255 };
    expect(JSON.parse((await curl('/settings')).body)).toEqual(byDefault);
    const changed = await patch({ keep: true, delaySeconds: 5 });
    expect(JSON.parse(changed.body)).toEqual({ ...byDefault, keep: true, delaySeconds: 5 });
    expect((await patch({ debug: true, delaySeconds: 0 })).code).toBe(400);
    expect(held.settings.current).toMatchObject({ debug: false, delaySeconds: 5 });
  });

  const snapshot = { type: 1, id: 1, text: 'debian' };
  test.each([
    ['no JSON', '{"type":'],
    ['nothing', ''],
    ['a list', '[]'],
    ['no id', { type: 1, text: 'debian' }],
    ['an id below 0', { ...snapshot, id: -1 }],
    ['an unknown name', { type: 'reboot', id: 1 }],
    ['an unknown key', { ...snapshot, shell: 'x' }],
    ['an unknown option', { ...snapshot, options: { force: true } }],
    ['an option of another type', { type: 'verify', id: 1, text: 'a@x', options: { pinned: true } }],
    ['an option of a prune', { ...snapshot, options: { clockIsRight: true } }],
    ['no guest', { type: 1, id: 1 }],
    ['control characters', { ...snapshot, text: 'a\u001b[2J' }],
    ['a prototype', '{"type":1,"id":1,"text":"a","__proto__":{"x":1}}'],
    ['too much', 'x'.repeat(70_000), 413],
  ])('is told what is wrong with %s, and nothing is done', async (_, body, expected = 400) => {
    await serve(async () => {
      const { code, body: answer } = await ask(body);
      expect([code, JSON.parse(answer)]).toMatchObject([expected, { type: 'error', code: 'Usage' }]);
      expect(held.events).toEqual([]);
    });
  });

  served('is told that there is no such thing', async () => {
    expect((await curl('/nothing')).code).toBe(404);
    expect((await curl('/requests/5', '-X', 'DELETE')).code).toBe(404);
  });
});

describe('the client of our own commands', () => {
  const status = () => new ControlClient(dir).status();

  test('finds no daemon where there is no socket, and none at a file', async () => {
    await expect(status()).rejects.toMatchObject({ code: 'NoDaemon' });
    await writeFile(socketPath, '');
    await expect(status()).rejects.toMatchObject({ code: 'NoDaemon' });
  });

  test.each([
    '',
    'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n{"a"',
    'SSH-2.0\r\n',
    'HTTP/1.1 200 OK\r\n\r\nhello',
  ])('is not fooled by what answers %j', async (words) => {
    const impostor = createServer((socket) => socket.on('error', () => {}).end(words));
    await once(impostor.listen(socketPath), 'listening');
    await expect(status().finally(() => impostor.close())).rejects.toMatchObject({ code: 'DaemonGone' });
  });
});

describe('the socket', () => {
  const isRefused = async (code: string, group?: string) =>
    await expect(serve(async () => {}, group)).rejects.toMatchObject({ code });

  served('is for its owner alone', async () => {
    expect(statSync(socketPath).mode & 0o777).toBe(0o600);
  });

  test.runIf(process.getuid?.() === 0)('lets a group in that was named, and through the directory', () =>
    serve(async () => {
      const rightsOf = (path: string) => [statSync(path).mode & 0o777, statSync(path).gid];
      expect(rightsOf(socketPath)).toEqual([0o660, 1]);
      expect(rightsOf(dir)).toEqual([0o710, 1]);
      const as = (gid: number) =>
        execa('curl', ['-sS', '--unix-socket', socketPath, 'http://x/settings'], {
          ...{ uid: 65_534, gid, reject: false },
        });
      expect((await as(1)).stdout).toContain('delaySeconds');
      expect((await as(65_534)).exitCode).not.toBe(0);
    }, 'daemon'),
  );

  test('is not made for a group that there is not', async () => {
    await isRefused('ControlUnusable', 'no-such-group');
    expect(existsSync(socketPath)).toBe(false);
    expect(() => groupIdOf('root', 'toor:x:1:\n:x:2:\n')).toThrow(/no group root/);
  });

  test('is left to whoever listens there, and to what is no socket', async () => {
    await serve(async () => {
      await isRefused('ControlUnusable');
      expect((await curl('/settings')).code).toBe(200);
    });
    await writeFile(socketPath, 'mine');
    await isRefused('ControlUnusable');
    expect(statSync(socketPath).isFile()).toBe(true);
  });

  test('can not have a path that the kernel would cut', async () => {
    socketPath = join(dir, 'x'.repeat(107));
    await isRefused('SocketPathTooLong');
  });
});

test('clients that hang keep nobody else waiting, and the end neither', async () => {
  const open: Socket[] = [];
  /** Sends these words and reads nothing. */
  const hang = async (words: string) => {
    const socket = connect({ path: socketPath }).on('error', () => {});
    open.push(socket);
    await once(socket, 'connect');
    await new Promise<void>((resolve) => socket.write(words, () => resolve()));
    socket.pause();
  };
  const body = JSON.stringify({ type: 1, id: 9, text: 'debian' });
  const head = `POST /requests HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n`;
  await serve(async () => {
    const asked = ask({ type: 1, id: 8, text: 'debian' });
    await untilHeld();
    for (const words of ['', 'GET /sta', `${head}\r\n{`]) await hang(words);
    await hang(`${head}Accept: application/x-ndjson\r\n\r\n${body}`);
    await waitFor('both requests to be at work', () => held.heldCount > 1);
    expect((await curl('/settings')).code).toBe(200);
    // More than there is room for.
    for (let count = 0; count < 300; count++) await hang('');
    expect((await curl('/settings')).code).toBe(200);
    held.letGo();
    await waitFor('the request to be answered', () => held.events.includes('answered'));
    expect((await asked).code).toBe(200);
  });
  expect(existsSync(socketPath)).toBe(false);
  for (const socket of open) socket.destroy();
});
