import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chown, mkdir, rm, symlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { asNeighbour, neighbour } from '../neighbours/swapper.js';
import { heard } from '../support/heard.js';
import { expectRuns, setScene } from '../support/scene.js';
import { waitFor } from '../support/wait-for.js';

/** What another user of the host puts in the way of the backup of a real guest, or has put there before it began. */

const scene = setScene({ guest: { fillMiB: 4 }, proxied: true });
const disk = () => scene.guest.disks[0]?.path ?? '';
afterEach(() => chown(disk(), 0, 0));

const stops = async () => (await scene.proxy.events()).filter(({ command }) => command === 'stop').length;

test("a guest whose disk is another user's is not stopped, unless the config says who runs it", async () => {
  await chown(disk(), neighbour, neighbour);
  const before = await stops();
  const refused = await scene.backup();
  expect(refused).toMatchObject({
    status: 'failed',
    error: { phase: 'preflight', code: 'GuestOfSeveralUsers' },
  });
  expect(refused.error?.message).toContain(`${disk()} belongs to user ${neighbour}`);
  expect(refused.error?.message).toMatch(/process \d+ belongs to user 0/);
  expect(await stops()).toBe(before);
  const another = await scene.backup({ user: 'nobody' });
  expect(another).toMatchObject({ error: { code: 'GuestOfSeveralUsers' } });
  expect(await scene.backup({ user: 'no-such-user' })).toMatchObject({ error: { code: 'NoSuchUser' } });
  expect(await scene.backup({ user: 'root' })).toMatchObject({ error: null });
  await expectRuns(scene.guest);
});

/** A program of the neighbour's that listens there, and tells each datagram that it gets, and from which socket. */
async function squat<T>(path: string, use: (said: () => string) => Promise<T>): Promise<T> {
  const script = `use IO::Socket::UNIX; use Socket; $| = 1;
    my $s = IO::Socket::UNIX->new(Type => SOCK_DGRAM, Local => $ARGV[0]) or die; print "listening\\n";
    while (defined(my $from = $s->recv(my $d, 600))) { print substr($d, 12), " from ", unpack_sockaddr_un($from), "\\n" }`;
  const squatter = spawn('setpriv', [...asNeighbour, 'perl', '-e', script, path], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = once(squatter, 'close');
  const said = heard(squatter.stdout);
  try {
    await waitFor('the squatter to listen', () => said().includes('listening'));
    return await use(said);
  } finally {
    squatter.kill('SIGKILL');
    await ended;
  }
}

test("a console that somebody has squatted in /tmp/uml gets nothing, and the guest's own is found at its process", async () => {
  const { umid } = scene.guest;
  const directory = `/tmp/uml/${umid}`;
  await mkdir(directory, { recursive: true });
  await chown(directory, neighbour, neighbour);
  try {
    await squat(`${directory}/mconsole`, async (said) => {
      expect(await scene.backup({ mconsole: umid })).toMatchObject({ error: null });
      // A word to it is told: otherwise that none came has shown nothing. Other tests' commands may look there as well.
      const asking = scene.start(['mconsole', `${directory}/mconsole`, 'version']);
      await waitFor('a word to the squatter', () => said().includes(`/umlsnap-${asking.pid}-`));
      asking.kill('SIGINT');
      await asking.exited;
      expect(said()).not.toContain(`/umlsnap-${process.pid}-`);
    });
  } finally {
    await rm(directory, { recursive: true });
  }
});

test('a disk is not read through a link that another user could change, though it leads to the very disk', async () => {
  const own = scene.path('own');
  await mkdir(own);
  await chown(own, neighbour, neighbour);
  await symlink(dirname(disk()), join(own, 'vm'));
  const path = join(own, 'vm', basename(disk()));
  const disks = { ubd0: path };
  const refused = await scene.backup({ disks });
  expect(refused.error).toMatchObject({ phase: 'preflight', code: 'DiskUnusable' });
  expect(refused.error?.message).toContain('is a symbolic link');
  // An administrator's is resolved by the config.
  await chown(own, 0, 0);
  const checked = await (await scene.variant({ disks })).run('config', 'check');
  expect(checked.stdout).toContain(`${path} is a link, and stands for ${disk()}`);
  expect(await scene.backup({ disks })).toMatchObject({ error: null });
});
