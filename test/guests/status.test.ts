import { expect, test } from 'vitest';
import { setScene } from '../support/scene.js';

const scene = setScene();

async function status(): Promise<Record<string, unknown>> {
  const { json, exitCode, stderr } = await scene.run('status', '--json');
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
  return json[1] as Record<string, unknown>;
}

test('a guest shows as what it is: running, stopped by hand, held by a signal, gone; and its last snapshot with it', async () => {
  const { guest } = scene;
  const { summary } = await scene.snapshot();
  expect(summary.error).toBeNull();
  const lastSnapshot = { snapshot: summary.snapshot, consistency: 'synced', ageSeconds: expect.any(Number) };
  const lastJob = { kind: 'backup', status: summary.status };
  const known = { guest: 'debian', lastSnapshot, lastJob, pausedByJob: null, nextRun: null };
  expect(await status()).toMatchObject({ ...known, state: 'running', pid: guest.pid, problem: null });

  await guest.mconsole('stop');
  expect(await status()).toMatchObject({ ...known, state: 'stopped', pid: guest.pid });
  expect((await scene.run('status')).stdout).toMatch(/debian +stopped +/);
  await guest.mconsole('go');
  expect(await status()).toMatchObject({ ...known, state: 'running' });

  process.kill(guest.pid, 'SIGSTOP');
  const held = { state: 'unreachable', pid: guest.pid, problem: { code: 'GuestNotAnswering' } };
  expect(await status()).toMatchObject({ ...known, ...held });
  process.kill(guest.pid, 'SIGCONT');

  await guest.kill();
  expect(await status()).toMatchObject({ ...known, state: 'notRunning', pid: null, problem: null });
});
