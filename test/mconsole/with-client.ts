import { join } from 'node:path';
import { afterAll, beforeAll } from 'vitest';
import { type Ask, MconsoleClient } from '../../src/mconsole/mconsole-client.js';
import {
  type FakeGuest,
  type FakeGuestOptions,
  startFakeGuest,
  withFakeGuest,
} from '../fixtures/fake-guest.js';
import type { Misbehaviour } from '../fixtures/misbehaviour.js';
import { makeTempDir, removeTempDir, withTempDir } from '../support/temp-dir.js';

/** For what must be answered: long, since it is never waited for. */
export const patient = { timeoutMs: 30_000 };
/** For what is not answered: it is waited for to the end. */
export const brief = { timeoutMs: 100 };

type Use = (client: MconsoleClient, guest: FakeGuest, dir: string) => Promise<void>;

async function withClientOf(guest: FakeGuest, dir: string, use: Use): Promise<void> {
  const client = await MconsoleClient.open(guest.socketPath);
  await use(client, guest, dir).finally(() => client.close());
}

/** A client of a fake guest of its own in `g`, for who ends it or plays with its files. */
export function withOwnGuest(options: Omit<FakeGuestOptions, 'dir'>, use: Use): Promise<void> {
  return withTempDir((dir) =>
    withFakeGuest({ dir: join(dir, 'g'), ...options }, (guest) => withClientOf(guest, dir, use)),
  );
}

/** One fake guest for all tests of a file; what is given runs each with a client of its own, and the guest as new. */
export function setFakeGuest(): (misbehave: Misbehaviour[], use: Use) => Promise<void> {
  let dir = '';
  let guest: FakeGuest;
  beforeAll(async () => {
    dir = await makeTempDir();
    guest = await startFakeGuest({ dir: join(dir, 'g') });
  });
  afterAll(async () => {
    await guest?.stop();
    await removeTempDir(dir);
  });
  return async (misbehave, use) => {
    await guest.renew(misbehave);
    await withClientOf(guest, dir, use);
  };
}

/** To a guest that takes no requests, SIGSTOPped. The last one has found no room. */
export function fillQueue(client: MconsoleClient): Ask[] {
  const asks: Ask[] = [];
  while (asks.at(-1)?.isSent ?? true) asks.push(client.ask('version'));
  return asks;
}
