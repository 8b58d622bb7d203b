import { afterEach, expect, test } from 'vitest';
import { startHeldInSync } from '../support/held-job.js';
import { expectFailed, resultOf, setScene } from '../support/scene.js';

/** A guest that somebody stopped on purpose is none of our business: it is left as it is. */

const scene = setScene({ on: 'xfs', proxied: true });
afterEach(() => scene.expectUnharmed());

/** The `go` of an admin is refused by a guest that runs. */
const expectStillStopped = async () => expect(await scene.guest.mconsole('go')).toBe('');

test('stopped between the preflight and our stop, it is left stopped', async () => {
  const { proxy, guest } = scene;
  await proxy.hold('stop');
  const cli = scene.startSnapshot();
  await proxy.untilHeld('stop');
  await guest.mconsole('stop');
  await proxy.release('stop');
  const { error } = expectFailed(resultOf(await cli.exited), 'GuestAlreadyStopped');
  expect(error?.phase).toBe('stop');
  expect((await proxy.events()).filter(({ command }) => command === 'go')).toEqual([]);
  await expectStillStopped();
});

test('stopped before the backup, it is refused in the preflight and left stopped', async () => {
  await scene.guest.mconsole('stop');
  const { error } = expectFailed(await scene.snapshot(), 'GuestAlreadyStopped');
  expect(error?.phase).toBe('preflight');
  await expectStillStopped();
});

test('resumed by somebody else in the middle, its capture is void', async () => {
  const cli = await startHeldInSync(scene.proxy, () => scene.startSnapshot());
  await scene.guest.mconsole('go');
  await scene.proxy.release('sysrq s');
  const { exitCode, summary } = resultOf(await cli.exited);
  const error = { code: expect.stringMatching(/^(ResumedByOthers|SourceChanged)$/) };
  expect({ exitCode, summary }).toMatchObject({ exitCode: 1, summary: { snapshot: null, error } });
});
