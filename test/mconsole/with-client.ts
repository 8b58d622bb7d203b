import { join } from 'node:path';
import { afterAll, beforeAll } from 'vitest';
import { MconsoleClient } from '../../src/mconsole/mconsole-client.js';
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
  try {
    await use(client, guest, dir);
  } finally {
    client.close();
  }
}

/** A client of a fake guest of its own in `g`, for who ends it or plays with its files. */
export function withOwnGuest(options: Omit<FakeGuestOptions, 'dir'>, use: Use): Promise<void> {
  return withTempDir((dir) => {
    const boundAs = options.boundAs?.replace('DIR', dir);
    const guest = { dir: join(dir, 'g'), ...options, ...(boundAs !== undefined && { boundAs }) };
    return withFakeGuest(guest, (started) => withClientOf(started, dir, use));
  });
}

/** One fake guest for all tests of a file; what is given runs each with a client of its own, and the guest as new. */
export function setFakeGuest(): (misbehave: Misbehaviour[], use: Use) => Promise<void> {
  let dir = '';
  let guest: FakeGuest | undefined;
  beforeAll(async () => {
    dir = await makeTempDir();
    guest = await startFakeGuest({ dir: join(dir, 'g') });
  });
  afterAll(async () => {
    await guest?.stop();
    await removeTempDir(dir);
  });
  return async (misbehave, use) => {
    if (guest === undefined) throw new Error('the guest was not started');
    await guest.renew(misbehave);
    await withClientOf(guest, dir, use);
  };
}
