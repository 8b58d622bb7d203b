import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { type MconsoleProxy, startMconsoleProxy } from '../support/mconsole-proxy.js';
import type { RealGuest } from '../support/real-guest.js';
import { settingsOf, TestHouse } from '../support/test-house.js';

/** A guest that somebody stopped on purpose is none of our business: it is left as it is. */

let house: TestHouse;
let guest: RealGuest;
let proxy: MconsoleProxy;

beforeAll(async () => {
  house = await TestHouse.build({ sizeMiB: 512 });
  guest = await house.boot();
  proxy = await startMconsoleProxy({ listenPath: join(house.dir, 'p'), guestSocketPath: guest.socketPath });
  await house.configure({ one: settingsOf(guest, { mconsole: proxy.socketPath }) });
});
afterAll(async () => {
  await proxy.close();
  await house.remove();
});

/** Its shell answers only while it runs; an admin`s `go` proves at the same time that it was stopped until now. */
async function expectStillStopped(): Promise<void> {
  await expect(guest.sh('true', 300)).rejects.toThrow(/did not answer/);
  expect(await guest.mconsole('go')).toBe('');
}
afterEach(() => house.expectAllWell());

const refused = { exitCode: 1, json: [expect.objectContaining({ status: 'failed', snapshot: null })] };

test('stopped before the backup, it is refused in the preflight and left stopped', async () => {
  await guest.mconsole('stop');
  const result = await house.run(['--json', '-q', 'snapshot', 'one']);
  expect({ ...result, json: result.json.slice(-1) }).toMatchObject(refused);
  expect(result.json.at(-1)).toMatchObject({ error: { phase: 'preflight', code: 'GuestAlreadyStopped' } });
  await expectStillStopped();
});

test('stopped between the preflight and our stop, it is left stopped', async () => {
  await proxy.hold('stop');
  const cli = house.start(['--json', 'snapshot', 'one']);
  await proxy.untilHeld('stop');
  await guest.mconsole('stop');
  await proxy.release('stop');
  const result = await cli.exited;
  expect({ ...result, json: result.json.slice(-1) }).toMatchObject(refused);
  expect(result.json.at(-1)).toMatchObject({ error: { phase: 'stop', code: 'GuestAlreadyStopped' } });
  expect((await proxy.events()).filter(({ command }) => command === 'go')).toEqual([]);
  await expectStillStopped();
});

test('resumed by somebody else in the middle, its capture is void', async () => {
  await proxy.hold('stop');
  const cli = house.start(['--json', 'snapshot', 'one']);
  await proxy.untilHeld('stop');
  await proxy.hold('sysrq s');
  await proxy.release('stop');
  await proxy.untilHeld('sysrq s');
  await guest.mconsole('go');
  await proxy.release('sysrq s');
  const result = await cli.exited;
  expect({ ...result, json: result.json.slice(-1) }).toMatchObject(refused);
  expect(result.json.at(-1)).toMatchObject({
    error: { code: expect.stringMatching(/^(ResumedByOthers|SourceChanged)$/) },
  });
});
