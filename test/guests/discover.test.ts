import { mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { createSocket, type DatagramSocket } from 'unix-dgram';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type FakeGuest, startFakeGuest } from '../fixtures/fake-guest.js';
import { type CliResult, runCli } from '../support/cli.js';
import { bootGuest, type RealGuest } from '../support/real-guest.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';

/** The guests of a whole host: three real ones, and what else may lie about. */

let dir: string;
let home: string;
let running: RealGuest;
let stopped: RealGuest;
let silent: RealGuest;
let liar: FakeGuest;
let garbler: FakeGuest;
let deaf: DatagramSocket;
let stream: Server;

/** Has an escape sequence in it, and a line of its own. */
const harmfulName = 'disk\u001b[2J\u202e\nall is well.img';

beforeAll(async () => {
  dir = await makeTempDir();
  home = join(dir, 'home');
  const options = { dir, sizeMiB: 64, writer: 'none' as const };
  running = await bootGuest(options);
  stopped = await bootGuest(options);
  silent = await bootGuest(options);
  await stopped.mconsole('stop');
  process.kill(silent.pid, 'SIGSTOP');
  await leaveThingsAbout();
});
afterAll(async () => {
  deaf?.close();
  stream?.close();
  await Promise.all([liar?.stop(), garbler?.stop()]);
  await Promise.all([running?.kill(), stopped?.kill(), silent?.kill()]);
  await removeTempDir(dir);
});

/** What is no guest, and guests that lie: each at a socket that is called as a guest's. */
async function leaveThingsAbout(): Promise<void> {
  await writeFile(join(dir, 'disk.img'), Buffer.alloc(4096));
  await symlink(join(dir, 'disk.img'), join(dir, harmfulName));
  liar = await startFakeGuest({ dir: join(dir, 'liar'), disks: { ubd0: join(dir, harmfulName) } });
  const misbehave = [{ fault: { kind: 'endlessAnswer' } as const }];
  garbler = await startFakeGuest({ dir: join(dir, 'garbler'), misbehave });
  for (const umid of ['deaf', 'dead', 'file', 'stream']) {
    await mkdir(join(home, '.uml', umid), { recursive: true });
  }
  deaf = createSocket('unix_dgram');
  deaf.on('message', () => undefined);
  deaf.bind(join(home, '.uml/deaf/mconsole'));
  const dead = createSocket('unix_dgram');
  dead.bind(join(home, '.uml/dead/mconsole'));
  dead.close();
  await writeFile(join(home, '.uml/file/mconsole'), '');
  stream = createServer().listen(join(home, '.uml/stream/mconsole'));
}

type Row = Record<string, unknown>;

async function discover(...args: string[]): Promise<{ rows: Row[]; result: CliResult }> {
  const env = { HOME: home, UMLSNAP_CONFIG: '' };
  const result = await runCli([...args, 'discover', '--json'], { env });
  // Others' guests may run on this machine as well.
  const rows = result.json.filter(({ socketPath }) => String(socketPath).startsWith(`${dir}/`));
  return { rows, result };
}

const rowOf = (rows: Row[], umid: string): Row | undefined => rows.find((row) => row.umid === umid);

test('every guest of the host is found without a config, with what it is and what it does', async () => {
  const { rows, result } = await discover();
  expect(result).toMatchObject({ exitCode: 0, stderr: '' });
  for (const [guest, state] of [[running, 'running'] as const, [stopped, 'stopped'] as const]) {
    expect(rowOf(rows, guest.umid)).toEqual({
      umid: guest.umid,
      socketPath: guest.socketPath,
      state,
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
  }
  await expect(stopped.sh('true', 300)).rejects.toThrow(/did not answer/);
});

test('a guest that does not answer has its row, with the disks that the host sees', async () => {
  const { rows } = await discover();
  expect(rowOf(rows, silent.umid)).toMatchObject({
    ...{ state: 'notAnswering', problem: { code: 'GuestNotAnswering' }, kernel: null, pid: silent.pid },
    ...{ disks: [], lockedFiles: [{ path: silent.diskPath, lock: 'write' }] },
  });
});

test('what only looks like a guest costs nothing but its row', async () => {
  const { rows } = await discover();
  expect(rowOf(rows, 'deaf')).toMatchObject({ state: 'notAnswering', pid: process.pid });
  expect(rowOf(rows, 'dead')).toMatchObject({ problem: { code: 'GuestSocketDead' }, pid: null });
  expect(rowOf(rows, 'garbler')).toMatchObject({ problem: { code: 'ReplyMalformed' }, pid: garbler.pid });
  // A file is no socket, and a stream no console.
  expect(rowOf(rows, 'file')).toBeUndefined();
  expect(rows.filter(({ state }) => state !== 'notAnswering').map(({ umid }) => umid)).toEqual(
    [running.umid, stopped.umid, 'liar'].sort(),
  );
});

test("a guest's own words can do nothing to a terminal, nor write a row of their own", async () => {
  const { rows } = await discover();
  expect(JSON.stringify(rowOf(rows, 'liar')?.disks)).toContain('disk all is well.img');
  const { stdout } = await runCli(['discover'], { env: { HOME: home, UMLSNAP_CONFIG: '' } });
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not come through
  expect(stdout).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e]/);
  expect(stdout).not.toMatch(/^all is well/m);
  for (const words of ['running', 'stopped', 'not answering', `ubd0=${running.diskPath}`]) {
    expect(stdout).toContain(words);
  }
});

test('a guest of the config is shown by its name there, however the config spells its path', async () => {
  const config = join(dir, 'config.yaml');
  const spelled = join(dir, 'x');
  await symlink(join(running.socketPath, '..'), spelled);
  const guests = {
    debian: { mconsole: join(spelled, 'mconsole'), disks: { ubd0: running.diskPath } },
    gone: { mconsole: join(dir, 'nowhere/mconsole'), disks: { ubd0: stopped.diskPath } },
  };
  const stores = { local: { type: 'directory', path: join(dir, 'store') } };
  await writeFile(config, JSON.stringify({ state: join(dir, 'state'), stores, guests }));
  const { rows, result } = await discover('-c', config);
  expect(result).toMatchObject({ exitCode: 0, stderr: '' });
  expect(rowOf(rows, running.umid)).toMatchObject({ guest: 'debian', state: 'running' });
  expect(rows.filter(({ guest }) => guest !== null)).toHaveLength(1);
});

test('a config that is wrong costs a warning and the names, not the guests', async () => {
  const config = join(dir, 'wrong.yaml');
  await writeFile(config, 'colour: red\n');
  const { rows, result } = await discover('-c', config);
  expect(result).toMatchObject({ exitCode: 3, stderr: expect.stringContaining('colour') });
  expect(rowOf(rows, running.umid)).toMatchObject({ guest: null, state: 'running' });
  await rm(config);
});
