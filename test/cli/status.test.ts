import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { FakeGuest } from '../fixtures/fake-guest.js';
import type { Scene } from '../snapshot/scene.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { setSmallScene } from './small-guest.js';

let dir: string;
let scene: Scene;
let guest: FakeGuest;
beforeEach(async () => {
  dir = await makeTempDir();
});
afterEach(async () => {
  await guest?.stop();
  await removeTempDir(dir);
});

async function set(
  ...given: Parameters<typeof setSmallScene> extends [string, ...infer Rest] ? Rest : never
) {
  ({ scene, guest } = await setSmallScene(dir, ...given));
}

async function statusOf(): Promise<Record<string, unknown>> {
  const { json, exitCode, stderr } = await scene.run('status', '--json');
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
  expect(json.map(({ type }) => type)).toEqual(['daemon', 'guest']);
  return json[1] as Record<string, unknown>;
}

test('before anything was done, the guest and its next run are shown all the same', async () => {
  await set({}, { schedule: '0 3 * * *', timezone: 'UTC' });
  expect(await statusOf()).toMatchObject({
    ...{ guest: 'debian', state: 'running', pid: guest.pid, problem: null },
    ...{ lastSnapshot: null, lastJob: null, pausedByJob: null },
    nextRun: { at: expect.stringContaining('T03:00:00'), isOverdue: false },
  });
  expect(guest.received().map(({ command }) => command)).toEqual(['version', 'proc cmdline']);
});

test('the last job is told, also one that failed', async () => {
  await set({ cpus: 2 });
  expect((await scene.snapshot()).summary.error?.code).toBe('GuestHasSeveralCpus');
  expect(await statusOf()).toMatchObject({
    ...{ lastSnapshot: null, lastJob: { kind: 'backup', status: 'failed' }, nextRun: null },
  });
  const { stdout } = await scene.run('status');
  expect(stdout).toContain('The daemon does not run.');
  expect(stdout).toContain('backup failed');
});

test('a guest that is gone does not run', async () => {
  await set();
  await guest.stop();
  expect(await statusOf()).toMatchObject({ state: 'notRunning', pid: null, problem: null });
});

test('one whose socket is gone, and whose disks are held, is unreachable', async () => {
  await set();
  await rm(guest.socketPath);
  expect(await statusOf()).toMatchObject({
    ...{ state: 'unreachable', pid: guest.pid, problem: { code: 'NoMconsoleSocket' } },
  });
});

test('one that says nothing, or nonsense, is unreachable, and people are told why', async () => {
  await set({ misbehave: [{ fault: { kind: 'garbledAnswer', form: 'zeroHeader' } }] });
  expect(await statusOf()).toMatchObject({ state: 'unreachable', problem: { code: 'ReplyMalformed' } });
  expect((await scene.run('status')).stdout).toContain('debian: ');
});

test('a history that can not be used hides what only it knows, and nothing else', async () => {
  await set();
  await scene.run('status');
  await writeFile(
    join(scene.state, 'history.db'),
    'no database, but long enough to be read as one'.repeat(100),
  );
  const { json, exitCode, stderr } = await scene.run('status', '--json');
  expect(json[1]).toMatchObject({ guest: 'debian', state: 'running', lastJob: null });
  expect({ exitCode, stderr }).toMatchObject({ exitCode: 3, stderr: expect.stringContaining('history') });
});

test('a daemon is seen while it runs, and only then', async () => {
  await set();
  const daemon = scene.start(['daemon']);
  await daemon.waitForOutput(/daemon runs/);
  expect((await scene.run('status', '--json')).json[0]).toEqual({
    ...{ type: 'daemon', isRunning: true, pid: daemon.pid, state: scene.state },
  });
  daemon.kill('SIGTERM');
  await daemon.exited;
  expect((await scene.run('status', '--json')).json[0]).toMatchObject({ isRunning: false, pid: null });
});
