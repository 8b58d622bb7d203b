import { afterAll, beforeAll, expect, test } from 'vitest';
import * as commands from '../../src/mconsole/commands.js';
import { MconsoleClient } from '../../src/mconsole/mconsole-client.js';
import { setScene } from '../support/scene.js';
import { waitFor } from '../support/wait-for.js';

const options = { timeoutMs: 30_000 };
const scene = setScene({ guest: { unlockedDisks: true } });
let client: MconsoleClient;

beforeAll(async () => {
  client = await MconsoleClient.open(scene.guest.socketPath);
});
afterAll(() => client?.close());

test('a real guest answers as we read it, running or stopped', async () => {
  const expectAnswers = async () => {
    expect(await commands.version(client, options)).toMatch(/^Linux \S+ \d+\.\d+/);
    expect(await commands.help(client, options)).toMatch(/^Commands:[\s\S]*stack <pid>/);
    expect(await commands.queryConfig(client, 'ubd0', options)).toBe(scene.guest.diskPath);
    expect(await commands.queryConfig(client, 'ubd7', options)).toBe('');
    expect(await commands.proc(client, 'vmstat', options)).toMatch(
      /^nr_free_pages \d+\n[\s\S]*^nr_dirty \d+$/m,
    );
    expect(await commands.proc(client, 'diskstats', options)).toContain('ubda');
    expect(await commands.proc(client, 'sys/kernel/sysrq', options)).toMatch(/^\d+\n$/);
    expect(await commands.sysrq(client, 's', options)).toContain('Emergency Sync');
    await expect(client.request('config ubd99', options)).rejects.toMatchObject({
      code: 'CommandRefused',
      facts: { text: expect.stringContaining('device number out of range') },
    });
  };
  await expectAnswers();
  expect(await commands.go(client, options)).toBe('notStopped');
  expect(await commands.stop(client, options)).toBe('stopped');
  expect(await commands.stop(client, options)).toBe('alreadyStopped');
  await expectAnswers();
  expect(await commands.go(client, options)).toBe('resumed');
});

test('the longest line is taken whole, and the next answer is free of it', async () => {
  await commands.log(client, 'x'.repeat(506), options);
  expect(await commands.sysrq(client, 's', options)).not.toContain('xxx');
  expect(await scene.guest.console()).toContain('x'.repeat(506));
});

test('requests that a guest answers late and in reverse order get each its own answer, and one that was given up gets none', async () => {
  process.kill(scene.guest.pid, 'SIGSTOP');
  await expect(client.request('version', { timeoutMs: 50 })).rejects.toMatchObject({
    code: 'GuestNotAnswering',
  });
  const device = client.ask('config ubd0');
  const uptime = client.ask('proc uptime');
  const release = client.ask('version');
  process.kill(scene.guest.pid, 'SIGCONT');
  expect(await device.answered).toBe(scene.guest.diskPath);
  expect(await uptime.answered).toMatch(/^\n[\d.]+ [\d.]+\n$/);
  expect(await release.answered).toContain('Linux');
});

test('a stop that a go overtook pauses the guest after it, and the next go resumes it', async () => {
  process.kill(scene.guest.pid, 'SIGSTOP');
  const overtaken = client.ask('stop');
  const tooEarly = client.ask('go');
  process.kill(scene.guest.pid, 'SIGCONT');
  expect(await commands.readGoAnswer(tooEarly.answered)).toBe('notStopped');
  expect(await commands.readStopAnswer(overtaken.answered)).toBe('stopped');
  expect(await commands.go(client, options)).toBe('resumed');
});

test('a guest that reboots is not the guest that was opened', async () => {
  await client.request('reboot', options);
  const isDead = async () => {
    const [result] = await Promise.allSettled([client.request('version', { timeoutMs: 200 })]);
    return result.status === 'rejected' && result.reason.code === 'GuestSocketDead';
  };
  await waitFor('the socket to be dead', isDead);
  await waitFor('the guest to be at its new socket', async () => {
    const again = await MconsoleClient.open(scene.guest.socketPath).catch(() => undefined);
    const [answer] = await Promise.allSettled([again?.request('version', { timeoutMs: 500 })]);
    again?.close();
    return answer.status === 'fulfilled' && answer.value !== undefined;
  });
  expect(await client.isReplaced()).toBe(true);
});
