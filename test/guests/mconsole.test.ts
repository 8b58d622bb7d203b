import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  go,
  help,
  log,
  proc,
  queryConfig,
  readGoAnswer,
  readStopAnswer,
  stop,
  sysrq,
  version,
} from '../../src/mconsole/commands.js';
import { MconsoleClient } from '../../src/mconsole/mconsole-client.js';
import { bootGuest, type RealGuest, withGuest } from '../support/real-guest.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';

const options = { timeoutMs: 30_000 };
let dir: string;
let guest: RealGuest;
let client: MconsoleClient;

beforeAll(async () => {
  dir = await makeTempDir();
  guest = await bootGuest({ dir });
  client = await MconsoleClient.open(guest.socketPath);
});

afterAll(async () => {
  client?.close();
  await guest?.kill();
  await removeTempDir(dir);
});

test('a real guest answers as we read it', async () => {
  expect(await version(client, options)).toMatch(/^Linux \S+ \d+\.\d+/);
  expect(await help(client, options)).toMatch(/^Commands:[\s\S]*stack <pid>/);
  expect(await queryConfig(client, 'ubd0', options)).toBe(guest.diskPath);
  expect(await queryConfig(client, 'ubd7', options)).toBe('');
  expect(await proc(client, 'vmstat', options)).toMatch(/^nr_free_pages \d+\n[\s\S]*^nr_dirty \d+$/m);
  expect(await proc(client, 'sys/kernel/sysrq', options)).toMatch(/^\d+\n$/);
  expect(await sysrq(client, 's', options)).toContain('Emergency Sync');
});

test('the longest line is taken whole, and the next answer is free of it', async () => {
  await log(client, 'x'.repeat(506), options);
  expect(await sysrq(client, 's', options)).not.toContain('xxx');
  expect(await guest.console()).toContain('x'.repeat(506));
});

test('a refusal carries what the guest said', async () => {
  await expect(client.request('config ubd99', options)).rejects.toMatchObject({
    code: 'CommandRefused',
    facts: { text: expect.stringContaining('device number out of range') },
  });
});

test('while it is stopped a guest answers all that we ask a stopped guest', async () => {
  expect(await go(client, options)).toBe('notStopped');
  expect(await stop(client, options)).toBe('stopped');
  expect(await stop(client, options)).toBe('alreadyStopped');
  expect(await proc(client, 'vmstat', options)).toContain('nr_dirty');
  expect(await proc(client, 'diskstats', options)).toContain('ubda');
  expect(await sysrq(client, 's', options)).toContain('Emergency Sync');
  expect(await queryConfig(client, 'ubd0', options)).toBe(guest.diskPath);
  expect(await version(client, options)).toContain('Linux');
  expect(await go(client, options)).toBe('resumed');
});

test('requests that a guest answers in reverse order get each its own answer', async () => {
  process.kill(guest.pid, 'SIGSTOP');
  const device = client.ask('config ubd0');
  const uptime = client.ask('proc uptime');
  const release = client.ask('version');
  process.kill(guest.pid, 'SIGCONT');
  expect(await device.answered).toBe(guest.diskPath);
  expect(await uptime.answered).toMatch(/^\n[\d.]+ [\d.]+\n$/);
  expect(await release.answered).toContain('Linux');
});

test('a stop that a go overtook pauses the guest after it, and the next go resumes it', async () => {
  process.kill(guest.pid, 'SIGSTOP');
  const overtaken = client.ask('stop');
  const tooEarly = client.ask('go');
  process.kill(guest.pid, 'SIGCONT');
  expect(await readGoAnswer(tooEarly.answered)).toBe('notStopped');
  expect(await readStopAnswer(overtaken.answered)).toBe('stopped');
  expect(await go(client, options)).toBe('resumed');
});

test('a guest that is silent is told from one that is gone', async () => {
  process.kill(guest.pid, 'SIGSTOP');
  await expect(client.request('version', { timeoutMs: 50 })).rejects.toMatchObject({
    code: 'GuestNotAnswering',
  });
  process.kill(guest.pid, 'SIGCONT');
  // The answer that came too late found nobody, and is not taken for this one.
  expect(await queryConfig(client, 'ubd0', options)).toBe(guest.diskPath);
});

test('a guest that reboots is not the guest that was opened', async () => {
  await withGuest({ dir, unlockedDisks: true }, async ({ socketPath }) => {
    const before = await MconsoleClient.open(socketPath);
    await before.request('reboot', options);
    const isDead = async () => {
      const [result] = await Promise.allSettled([before.request('version', { timeoutMs: 200 })]);
      return result.status === 'rejected' && result.reason.code === 'GuestSocketDead';
    };
    await waitFor('the socket to be dead', isDead);
    await waitFor('the guest to be at its new socket', async () => {
      const again = await MconsoleClient.open(socketPath).catch(() => undefined);
      const [answer] = await Promise.allSettled([again?.request('version', { timeoutMs: 500 })]);
      again?.close();
      return answer.status === 'fulfilled' && answer.value !== undefined;
    });
    expect(await before.isReplaced()).toBe(true);
    before.close();
  });
});
