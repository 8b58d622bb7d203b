import { afterAll, beforeAll, describe, expect, test } from 'vitest';
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
import { type MconsoleProxy, withMconsoleProxy } from '../support/mconsole-proxy.js';
import { setScene } from '../support/scene.js';
import { waitFor } from '../support/wait-for.js';

const options = { timeoutMs: 30_000 };
const scene = setScene({ guest: { unlockedDisks: true } });
let client: MconsoleClient;

beforeAll(async () => {
  client = await MconsoleClient.open(scene.guest.socketPath);
});
afterAll(() => client?.close());

test('a real guest answers as we read it', async () => {
  expect(await version(client, options)).toMatch(/^Linux \S+ \d+\.\d+/);
  expect(await help(client, options)).toMatch(/^Commands:[\s\S]*stack <pid>/);
  expect(await queryConfig(client, 'ubd0', options)).toBe(scene.guest.diskPath);
  expect(await queryConfig(client, 'ubd7', options)).toBe('');
  expect(await proc(client, 'vmstat', options)).toMatch(/^nr_free_pages \d+\n[\s\S]*^nr_dirty \d+$/m);
  expect(await proc(client, 'sys/kernel/sysrq', options)).toMatch(/^\d+\n$/);
  expect(await sysrq(client, 's', options)).toContain('Emergency Sync');
});

test('the longest line is taken whole, and the next answer is free of it', async () => {
  await log(client, 'x'.repeat(506), options);
  expect(await sysrq(client, 's', options)).not.toContain('xxx');
  expect(await scene.guest.console()).toContain('x'.repeat(506));
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
  expect(await queryConfig(client, 'ubd0', options)).toBe(scene.guest.diskPath);
  expect(await version(client, options)).toContain('Linux');
  expect(await go(client, options)).toBe('resumed');
});

test('requests that a guest answers in reverse order get each its own answer', async () => {
  process.kill(scene.guest.pid, 'SIGSTOP');
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
  expect(await readGoAnswer(tooEarly.answered)).toBe('notStopped');
  expect(await readStopAnswer(overtaken.answered)).toBe('stopped');
  expect(await go(client, options)).toBe('resumed');
});

test('a guest that is silent is told from one that is gone', async () => {
  process.kill(scene.guest.pid, 'SIGSTOP');
  await expect(client.request('version', { timeoutMs: 50 })).rejects.toMatchObject({
    code: 'GuestNotAnswering',
  });
  process.kill(scene.guest.pid, 'SIGCONT');
  // The answer that came too late found nobody, and is not taken for this one.
  expect(await queryConfig(client, 'ubd0', options)).toBe(scene.guest.diskPath);
});

describe('the proxy before a real guest', () => {
  const throughProxy = (use: (proxy: MconsoleProxy, client: MconsoleClient) => Promise<void>) => {
    const paths = { listenPath: scene.path('p'), guestSocketPath: scene.guest.socketPath };
    return withMconsoleProxy(paths, async (proxy) => {
      const before = await MconsoleClient.open(proxy.socketPath);
      await use(proxy, before).finally(() => before.close());
    });
  };

  test('measures a pause from stop answered to go answered, answers of several datagrams pass whole', async () => {
    await throughProxy(async (proxy, before) => {
      expect(await help(before, options)).toMatch(/version/);
      await before.request('stop', options);
      const startedAt = performance.now();
      await before.request('version', options);
      const atLeastMs = performance.now() - startedAt;
      await before.request('go', options);
      const [pausedMs, ...others] = await proxy.pauses();
      expect(pausedMs).toBeGreaterThanOrEqual(atLeastMs);
      expect(others).toEqual([]);
    });
  });

  test('keeps a held stop from the guest until it is released', async () => {
    await throughProxy(async (proxy, before) => {
      await proxy.hold('stop');
      const held = before.ask('stop');
      expect(await scene.guest.sh('echo running')).toBe('running');
      await proxy.release('stop');
      expect(await held.answered).toBe('stopped');
      expect(await before.request('go', options)).toBe('');
    });
  });

  test('loses as many answers to go as it is told, and no more', async () => {
    await throughProxy(async (proxy, before) => {
      await proxy.drop('go', 2);
      await before.request('stop', options);
      for (const _ of [1, 2]) {
        await expect(before.request('go', { timeoutMs: 500 })).rejects.toThrow(/GuestNotAnswering/);
      }
      expect(await scene.guest.sh('echo running')).toBe('running');
      await expect(before.request('go', options)).rejects.toThrow(/Not stopped/);
      expect(await proxy.pauses()).toEqual([]);
    });
  });
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
