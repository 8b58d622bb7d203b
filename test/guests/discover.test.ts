import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { createSocket } from 'unix-dgram';
import { beforeAll, expect, test } from 'vitest';
import { type FakeGuest, startFakeGuest } from '../fixtures/fake-guest.js';
import { runCli } from '../support/cli.js';
import type { RealGuest } from '../support/real-guest.js';
import { setScene } from '../support/scene.js';

/** The guests of a whole host: two real ones, and what else may lie about. In this order: one of them is stopped in the middle. */

const scene = setScene();
let silent: RealGuest;
let garbler: FakeGuest;

/** Has an escape sequence in it, and a line of its own. */
const harmfulName = 'disk\u001b[2J\u202e\nall is well.img';

/** Beside them what is no guest, and guests that lie: each at a socket that is called as a guest's. */
beforeAll(async () => {
  silent = await scene.boot();
  process.kill(silent.pid, 'SIGSTOP');
  await writeFile(scene.path('disk.img'), Buffer.alloc(4096));
  await symlink(scene.path('disk.img'), scene.path(harmfulName));
  const liar = await startFakeGuest({ dir: scene.path('liar'), disks: { ubd0: scene.path(harmfulName) } });
  const misbehave = [{ fault: { kind: 'endlessAnswer' } as const }];
  garbler = await startFakeGuest({ dir: scene.path('garbler'), misbehave });
  const consoleOf = (umid: string) => scene.path('home/.uml', umid, 'mconsole');
  for (const umid of ['deaf', 'dead', 'file', 'stream']) {
    await mkdir(scene.path('home/.uml', umid), { recursive: true });
  }
  const [deaf, dead] = ['deaf', 'dead'].map((umid) => {
    const socket = createSocket('unix_dgram');
    socket.bind(consoleOf(umid));
    return socket;
  });
  dead?.close();
  await writeFile(consoleOf('file'), '');
  const stream = createServer().listen(consoleOf('stream'));
  return async () => {
    deaf?.close();
    stream.close();
    await Promise.all([liar.stop(), garbler.stop()]);
  };
});

const env = () => ({ HOME: scene.path('home'), UMLSNAP_CONFIG: '' });

async function discover(...args: string[]) {
  const result = await runCli([...args, 'discover', '--json'], { env: env() });
  // Others' guests may run on this machine as well.
  const rows = result.json.filter(({ socketPath }) => String(socketPath).startsWith(`${scene.dir}/`));
  return { rows, result, of: (umid: string) => rows.find((row) => row.umid === umid) };
}

const expected = (guest: RealGuest) => ({
  umid: guest.umid,
  socketPath: guest.socketPath,
  state: 'running',
  problem: null,
  kernel: expect.stringMatching(/^Linux \S+ \d+\.\d+/),
  pid: guest.pid,
  uid: process.getuid?.(),
  user: expect.any(String),
  disks: [{ device: 'ubd0', path: guest.diskPath, backing: null }],
  lockedFiles: [{ path: guest.diskPath, lock: 'write' }],
  guest: null,
  agent: null,
});

test('a guest of the host is found without a config, with what it is and does; what does not answer, or only looks like a guest, has no more than its row', async () => {
  const { rows, result, of } = await discover();
  expect(result).toMatchObject({ exitCode: 0, stderr: '' });
  expect(of(scene.guest.umid)).toEqual(expected(scene.guest));
  // With the disks that the host sees.
  expect(of(silent.umid)).toMatchObject({
    ...{ state: 'notAnswering', problem: { code: 'GuestNotAnswering' }, kernel: null, pid: silent.pid },
    ...{ disks: [], lockedFiles: [{ path: silent.diskPath, lock: 'write' }] },
  });
  expect(of('deaf')).toMatchObject({ state: 'notAnswering', pid: process.pid });
  expect(of('dead')).toMatchObject({ problem: { code: 'GuestSocketDead' }, pid: null });
  expect(of('garbler')).toMatchObject({ problem: { code: 'ReplyMalformed' }, pid: garbler.pid });
  // A file is no socket, and a stream no console.
  expect(of('file')).toBeUndefined();
  const answering = rows.filter(({ state }) => state !== 'notAnswering').map(({ umid }) => umid);
  expect(answering).toEqual([scene.guest.umid, 'liar'].sort());
  expect(JSON.stringify(of('liar')?.disks)).toContain('disk all is well.img');
});

test('a guest of the config is shown by its name there, however the config spells its path, and one that is stopped as it is', async () => {
  process.kill(silent.pid, 'SIGCONT');
  await silent.mconsole('stop');
  await symlink(scene.path(scene.guest.umid, '.uml', scene.guest.umid), scene.path('x'));
  await scene.configure({
    debian: scene.settings({ mconsole: scene.path('x/mconsole') }),
    gone: { mconsole: scene.path('nowhere/mconsole'), disks: { ubd0: silent.diskPath } },
  });
  const { rows, result, of } = await discover('-c', scene.config);
  expect(result).toMatchObject({ exitCode: 0, stderr: '' });
  expect(of(scene.guest.umid)).toMatchObject({ guest: 'debian', state: 'running' });
  expect(rows.filter(({ guest }) => guest !== null)).toHaveLength(1);
  expect(of(silent.umid)).toEqual({ ...expected(silent), state: 'stopped' });
  await expect(silent.sh('true', 300)).rejects.toThrow(/did not answer/);
});

test("a guest's own words can do nothing to a terminal, nor write a row of their own", async () => {
  const { stdout } = await runCli(['discover'], { env: env() });
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not come through
  expect(stdout).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e]/);
  expect(stdout).not.toMatch(/^all is well/m);
  const lineOf = (umid: string) => new RegExp(`^.*\\b${umid}\\b.*$`, 'm').exec(stdout)?.[0];
  expect(lineOf(scene.guest.umid)).toMatch(/running/);
  expect(lineOf(silent.umid)).toMatch(/stopped/);
  expect(lineOf('deaf')).toMatch(/not answering/);
  expect(stdout).toContain(`ubd0=${scene.guest.diskPath}`);
});

test('a config that is wrong costs a warning and the names, not the guests', async () => {
  await writeFile(scene.config, 'colour: red\n');
  const { result, of } = await discover('-c', scene.config);
  expect(result).toMatchObject({ exitCode: 3, stderr: expect.stringContaining('colour') });
  expect(of(scene.guest.umid)).toMatchObject({ guest: null, state: 'running' });
});
