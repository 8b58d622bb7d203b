import { once } from 'node:events';
import { existsSync, statSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { resolveDrill } from '../../src/config/drill-fields.js';
import { resolveVerify } from '../../src/config/verify-fields.js';
import { ControlClient } from '../../src/control/control-client.js';
import { withControlServer } from '../../src/control/control-server.js';
import { controlSocketPath, groupIdOf } from '../../src/control/control-socket.js';
import { type DaemonStatus, digestOf } from '../../src/control/daemon-status.js';
import { UmlsnapError } from '../../src/errors.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';
import { HeldDesk } from './desk-of-tests.js';

let dir: string;
let held: HeldDesk;
let socketPath: string;
beforeEach(async () => {
  dir = await makeTempDir();
  held = new HeldDesk();
  socketPath = controlSocketPath(dir);
});
afterEach(() => removeTempDir(dir));

const statusOf = (): DaemonStatus => ({
  ...{ type: 'daemon', protocol: 1, pid: process.pid, state: dir, configFile: '/x', configDigest: 'x' },
  ...{ startedAt: new Date().toISOString(), settings: held.settings.current },
  ...{ jobs: held.board.running(), requests: held.desk.running() },
});

function serve<T>(use: () => Promise<T>, group: string | null = null): Promise<T> {
  const { desk, board, settings } = held;
  return withControlServer({ desk, board, settings, socketPath, group, status: statusOf }, use);
}

function startCurl(path: string, ...args: string[]) {
  const form = ['-w', '\n%{http_code}'];
  return execa('curl', ['-sS', '--unix-socket', socketPath, ...form, ...args, `http://umlsnap${path}`]);
}

/** What `curl` gets: the HTTP status, and the body. */
function curl(path: string, ...args: string[]): Promise<{ code: number; body: string }> {
  return answerOf(startCurl(path, ...args));
}

async function answerOf(running: ReturnType<typeof startCurl>): Promise<{ code: number; body: string }> {
  const { stdout } = await running;
  const end = stdout.lastIndexOf('\n');
  return { code: Number(stdout.slice(end + 1)), body: stdout.slice(0, end) };
}

const post = (body: unknown) => ['-d', typeof body === 'string' ? body : JSON.stringify(body)];
const untilHeld = (count = 1) => waitFor('requests to be at work', () => held.heldCount >= count);

describe('curl on the control socket', () => {
  test('gets the answer of a request when it is done, with its exit status', async () => {
    await serve(async () => {
      const answer = curl('/requests', ...post({ type: 'snapshot', id: 7, text: 'debian' }));
      await untilHeld();
      expect(JSON.parse((await curl('/status')).body)).toMatchObject({
        jobs: [{ job: 'job-1', guest: 'debian' }],
        requests: [{ id: 7, type: 'snapshot', requester: { from: 'host', pid: expect.any(Number) } }],
      });
      held.letGo();
      const { code, body } = await answer;
      expect({ code, ...JSON.parse(body) }).toMatchObject({ code: 200, type: 'answer', id: 7, status: 0 });
    });
  });

  test('gets no answer for id 0, at once, and the work is done all the same', async () => {
    await serve(async () => {
      expect(await curl('/requests', ...post({ type: 1, id: 0, text: 'debian' }))).toEqual({
        code: 204,
        body: '',
      });
      await untilHeld();
      held.letGo();
      await waitFor('it to be done', () => held.events.includes('answered'));
      expect((await curl('/requests', ...post({ type: 9, id: 0 }))).code).toBe(204);
      expect(held.events.at(-1)).toBe('refused');
    });
  });

  test('follows a running job as a stream, from its beginning to its end', async () => {
    await serve(async () => {
      const answer = curl('/requests', ...post({ type: 1, id: 3, text: 'debian' }));
      await untilHeld();
      const followers = [startCurl('/jobs/job-1/progress', '-N'), startCurl('/jobs/job-1/progress', '-N')];
      await Promise.all(followers.map(({ stdout }) => once(stdout, 'data')));
      held.letGo();
      for (const { code, body } of await Promise.all(followers.map(answerOf))) {
        expect(code).toBe(200);
        const types = body
          .trim()
          .split('\n')
          .map((line) => JSON.parse(line).type);
        expect(types).toEqual(['progress', 'summary']);
      }
      await answer;
      const body = expect.stringContaining('NoSuchJob');
      expect(await curl('/jobs/job-1/progress')).toMatchObject({ code: 404, body });
    });
  });

  test('sees and changes the settings, all of them or none', async () => {
    await serve(async () => {
      expect(JSON.parse((await curl('/settings')).body)).toMatchObject({ delaySeconds: 60, type: -255 });
      const changed = await curl('/settings', '-X', 'PATCH', ...post({ keep: true, delaySeconds: 5 }));
      expect(JSON.parse(changed.body)).toEqual({ debug: false, keep: true, delaySeconds: 5, type: -255 });
      const refused = await curl('/settings', '-X', 'PATCH', ...post({ debug: true, delaySeconds: 0 }));
      expect(refused.code).toBe(400);
      expect(held.settings.current).toMatchObject({ debug: false, delaySeconds: 5 });
    });
  });

  test.each([
    ['no JSON', '{"type":', 400],
    ['nothing', '', 400],
    ['a list', '[]', 400],
    ['no id', { type: 1, text: 'debian' }, 400],
    ['an id below 0', { type: 1, id: -1, text: 'debian' }, 400],
    ['an unknown name', { type: 'reboot', id: 1 }, 400],
    ['an unknown key', { type: 1, id: 1, text: 'debian', shell: 'x' }, 400],
    ['an unknown option', { type: 1, id: 1, text: 'debian', options: { force: true } }, 400],
    ['an option of another type', { type: 'verify', id: 1, text: 'a@x', options: { pinned: true } }, 400],
    ['an option of a prune', { type: 1, id: 1, text: 'debian', options: { clockIsRight: true } }, 400],
    ['no guest', { type: 1, id: 1 }, 400],
    ['control characters', { type: 1, id: 1, text: 'a\u001b[2J' }, 400],
    ['a prototype', '{"type":1,"id":1,"text":"a","__proto__":{"x":1}}', 400],
    ['too much', 'x'.repeat(70_000), 413],
  ])('is told what is wrong with %s, and nothing is done', async (_, body, expected) => {
    await serve(async () => {
      const { code, body: answer } = await curl('/requests', ...post(body));
      expect([code, JSON.parse(answer)]).toMatchObject([expected, { type: 'error', code: 'Usage' }]);
      expect(held.events).toEqual([]);
    });
  });

  test('is told that there is no such thing', async () => {
    await serve(async () => {
      expect((await curl('/nothing')).code).toBe(404);
      expect((await curl('/requests/5', '-X', 'DELETE')).code).toBe(404);
    });
  });
});

describe('the client of our own commands', () => {
  test('gives a request up, and hears what that came to', async () => {
    await serve(async () => {
      const abort = new AbortController();
      const took: object[] = [];
      const body = { type: 'snapshot', id: 5, text: 'debian' };
      const ended = new ControlClient(dir).request(body, (object) => took.push(object), abort.signal);
      await untilHeld();
      abort.abort(new UmlsnapError('Interrupted', { signal: 'SIGINT' }));
      expect(await ended).toEqual({ status: 130, cut: false });
      expect(took.at(-1)).toMatchObject({ code: 'Interrupted', facts: { signal: 'SIGINT' } });
    });
  });

  test('knows a daemon that is not there from one that went away', async () => {
    const client = new ControlClient(dir);
    await expect(client.status()).rejects.toMatchObject({ code: 'NoDaemon' });
    await writeFile(socketPath, '');
    await expect(client.status()).rejects.toMatchObject({ code: 'NoDaemon' });
  });

  test.each([
    '',
    'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n{"a"',
    'SSH-2.0\r\n',
    'HTTP/1.1 200 OK\r\n\r\nhello',
  ])('is not fooled by what answers %j', async (words) => {
    const impostor = createServer((socket) => socket.on('error', () => {}).end(words));
    await new Promise<void>((resolve) => impostor.listen(socketPath, resolve));
    try {
      await expect(new ControlClient(dir).status()).rejects.toMatchObject({ code: 'DaemonGone' });
    } finally {
      impostor.close();
    }
  });
});

describe('the socket', () => {
  test('is for its owner alone, and gone afterwards', async () => {
    await serve(async () => expect(statSync(socketPath).mode & 0o777).toBe(0o600));
    expect(existsSync(socketPath)).toBe(false);
  });

  test.runIf(process.getuid?.() === 0)(
    'lets a group in that was named, and through the directory',
    async () => {
      await serve(async () => {
        const { mode, gid } = statSync(socketPath);
        expect({ mode: mode & 0o777, gid }).toEqual({ mode: 0o660, gid: 1 });
        expect(statSync(dir)).toMatchObject({ gid: 1 });
        expect(statSync(dir).mode & 0o777).toBe(0o710);
        const as = (group: number) =>
          execa('curl', ['-sS', '--unix-socket', socketPath, 'http://x/settings'], {
            ...{ uid: 65_534, gid: group, reject: false },
          });
        expect((await as(1)).stdout).toContain('delaySeconds');
        expect((await as(65_534)).exitCode).not.toBe(0);
      }, 'daemon');
    },
  );

  test('is not made for a group that there is not', async () => {
    await expect(serve(async () => {}, 'no-such-group')).rejects.toMatchObject({ code: 'ControlUnusable' });
    expect(existsSync(socketPath)).toBe(false);
    expect(() => groupIdOf('root', 'toor:x:1:\n:x:2:\n')).toThrow(/no group root/);
  });

  test('takes the place of one that a killed daemon left behind', async () => {
    const script = `require('net').createServer().listen(process.argv[1], () => process.kill(process.pid, 'SIGKILL'))`;
    await execa(process.execPath, ['-e', script, socketPath], { reject: false });
    expect(statSync(socketPath).isSocket()).toBe(true);
    await serve(async () => expect((await curl('/settings')).code).toBe(200));
  });

  test('is left to whoever listens there, and to what is no socket', async () => {
    await serve(async () => {
      await expect(serve(async () => {})).rejects.toMatchObject({ code: 'ControlUnusable' });
      expect((await curl('/settings')).code).toBe(200);
    });
    await writeFile(socketPath, 'mine');
    await expect(serve(async () => {})).rejects.toMatchObject({ code: 'ControlUnusable' });
    expect(statSync(socketPath).isFile()).toBe(true);
  });

  test('can not have a path that the kernel would cut', async () => {
    socketPath = join(dir, 'x'.repeat(107));
    await expect(serve(async () => {})).rejects.toMatchObject({ code: 'SocketPathTooLong' });
  });
});

describe('clients that hang', () => {
  const open: Socket[] = [];
  afterEach(() => {
    for (const socket of open.splice(0)) socket.destroy();
  });

  /** Sends these words and reads nothing. */
  async function hang(words: string): Promise<void> {
    const socket = connect({ path: socketPath });
    open.push(socket);
    socket.on('error', () => {});
    await new Promise<void>((resolve) => socket.once('connect', () => socket.write(words, () => resolve())));
    socket.pause();
  }

  test('keep nobody else waiting, and the end neither', async () => {
    const body = JSON.stringify({ type: 1, id: 9, text: 'debian' });
    const head = `POST /requests HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n`;
    await serve(async () => {
      await hang('');
      await hang('GET /sta');
      await hang(`${head}\r\n{`);
      await hang(`${head}Accept: application/x-ndjson\r\n\r\n${body}`);
      await untilHeld();
      expect((await curl('/settings')).code).toBe(200);
      held.letGo();
      await waitFor('the request to be answered', () => held.events.includes('answered'));
    });
    expect(existsSync(socketPath)).toBe(false);
  });
});

test('a digest tells one config from another', () => {
  const config = {
    file: '/a',
    state: '/s',
    concurrency: 2,
    control: { group: null },
    alerts: [],
    drill: resolveDrill(undefined, {}, { state: '/s', timezone: 'UTC' }),
    verify: resolveVerify(undefined, 'UTC'),
    dashboard: null,
    stores: {},
    guests: {},
  };
  expect(digestOf(config)).toBe(digestOf({ ...config }));
  expect(digestOf({ ...config, concurrency: 3 })).not.toBe(digestOf(config));
});
