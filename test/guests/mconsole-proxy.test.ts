import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { MconsoleClient } from '../../src/mconsole/mconsole-client.js';
import { type MconsoleProxy, withMconsoleProxy } from '../support/mconsole-proxy.js';
import { bootGuest, type RealGuest } from '../support/real-guest.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';

let dir: string;
let guest: RealGuest;
beforeAll(async () => {
  dir = await makeTempDir();
  guest = await bootGuest({ dir, writer: 'none' });
});
afterAll(async () => {
  await guest.kill();
  await removeTempDir(dir);
});

type Use = (proxy: MconsoleProxy, client: MconsoleClient) => Promise<void>;

const throughProxy = (use: Use) =>
  withMconsoleProxy({ listenPath: join(dir, 'proxy'), guestSocketPath: guest.socketPath }, async (proxy) => {
    const client = await MconsoleClient.open(proxy.socketPath);
    try {
      await use(proxy, client);
    } finally {
      client.close();
    }
  });

describe('the proxy before a real guest', () => {
  test('measures a pause from stop answered to go answered, answers of several datagrams pass whole', async () => {
    await throughProxy(async (proxy, client) => {
      expect(await client.request('help', { timeoutMs: 5_000 })).toMatch(/version/);
      await client.request('stop', { timeoutMs: 5_000 });
      const startedAt = performance.now();
      await sleep(120);
      const atLeastMs = performance.now() - startedAt;
      await client.request('go', { timeoutMs: 5_000 });
      const [pausedMs, ...others] = await proxy.pauses();
      expect(pausedMs).toBeGreaterThanOrEqual(atLeastMs);
      expect(others).toEqual([]);
    });
  });

  test('keeps a held stop from the guest until it is released', async () => {
    await throughProxy(async (proxy, client) => {
      await proxy.hold('stop');
      const stop = client.ask('stop');
      expect(await guest.sh('echo running')).toBe('running');
      await proxy.release('stop');
      expect(await stop.answered).toBe('stopped');
      expect(await client.request('go', { timeoutMs: 5_000 })).toBe('');
    });
  });

  test('loses as many answers to go as it is told, and no more', async () => {
    await throughProxy(async (proxy, client) => {
      await proxy.drop('go', 2);
      await client.request('stop', { timeoutMs: 5_000 });
      for (const _ of [1, 2]) {
        await expect(client.request('go', { timeoutMs: 500 })).rejects.toThrow(/GuestNotAnswering/);
      }
      expect(await guest.sh('echo running')).toBe('running');
      await expect(client.request('go', { timeoutMs: 5_000 })).rejects.toThrow(/Not stopped/);
      expect(await proxy.pauses()).toEqual([]);
    });
  });
});
