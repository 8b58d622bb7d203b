import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Scene, setScene } from '../snapshot/scene.js';
import { bootGuest, type RealGuest } from '../support/real-guest.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';

let dir: string;
let guest: RealGuest;
let scene: Scene;

beforeAll(async () => {
  dir = await makeTempDir();
  guest = await bootGuest({ dir, sizeMiB: 64, writer: 'none' });
  scene = await setScene({ dir, mconsole: guest.socketPath, disks: guest.disks });
});
afterAll(async () => {
  await guest?.kill();
  await removeTempDir(dir);
});

async function status(): Promise<Record<string, unknown>> {
  const { json, exitCode, stderr } = await scene.run('status', '--json');
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
  return json[1] as Record<string, unknown>;
}

test('a guest shows as what it is: running, stopped by hand, held by a signal, gone; and its last snapshot with it', async () => {
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
