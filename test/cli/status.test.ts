import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type Scene, setScene, withScene } from '../support/scene.js';
import { TestDaemon } from '../support/test-daemon.js';

async function statusOf(scene: Scene): Promise<Record<string, unknown>> {
  const { json, exitCode, stderr } = await scene.run('status', '--json');
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
  expect(json.map(({ type }) => type)).toEqual(['daemon', 'guest']);
  return json[1] as Record<string, unknown>;
}

describe('a guest is shown, from the beginning to its end:', () => {
  const scene = setScene({ fake: { cpus: 2 }, settings: { schedule: '0 3 * * *' } });

  test('with its next run before anything was done', async () => {
    expect(await statusOf(scene)).toMatchObject({
      ...{ guest: 'debian', state: 'running', pid: scene.fake.pid, problem: null },
      ...{ lastSnapshot: null, lastBackup: null, pausedByJob: null },
      nextRun: { at: expect.stringContaining('T03:00:00'), isOverdue: false },
    });
    expect(scene.fake.received().map(({ command }) => command)).toEqual(['version', 'proc cmdline']);
  });

  test('with its last backup, also one that failed, whatever job came after it', async () => {
    expect((await scene.snapshot()).summary.error?.code).toBe('GuestHasSeveralCpus');
    const { job } = await scene.newestJob();
    expect((await scene.backup({}, { dryRun: true })).error?.code).toBe('GuestHasSeveralCpus');
    const lastBackup = { job, status: 'failed' };
    expect(await statusOf(scene)).toMatchObject({ lastSnapshot: null, lastBackup });
    expect((await scene.run('status')).stdout).toMatch(
      /The daemon does not run\.[\s\S]*last backup[\s\S]*failed/,
    );
  });

  test('with a daemon while one runs, and only then', async () => {
    const daemonOf = async () => (await scene.run('status', '--json')).json[0];
    const daemon = await TestDaemon.start(scene);
    const { pid } = daemon;
    expect(await daemonOf()).toEqual({
      ...{ type: 'daemon', isRunning: true, pid, state: scene.state, refusedReload: null },
    });
    // As `umlsnap config check` would have told.
    await writeFile(scene.config, `state: ${scene.state}\nguests: { debian: { colour: red } }\n`);
    const { exitCode, stderr, json } = await scene.run('status', '--json');
    expect(json).toMatchObject([{ isRunning: true, pid, refusedReload: null }, { guest: 'debian' }]);
    expect({ exitCode, stderr }).toMatchObject({
      exitCode: 3,
      stderr: expect.stringMatching(/colour[\s\S]*goes on/),
    });
    await daemon.reload(/stays in force/);
    const refused = {
      at: expect.any(String),
      code: 'ConfigInvalid',
      problem: expect.stringContaining('colour'),
    };
    expect((await scene.run('ctl', '--json')).json).toMatchObject([{ pid, refusedReload: refused }]);
    await scene.configure();
    expect(await daemonOf()).toMatchObject({ pid, refusedReload: refused });
    await daemon.reload();
    expect(await daemonOf()).toMatchObject({ pid, refusedReload: null });
    await daemon.end();
    expect(await daemonOf()).toMatchObject({ isRunning: false, pid: null });
  });

  test('by a history that can not be used with all but what only that knows', async () => {
    const history = join(scene.state, 'history.db');
    await writeFile(history, 'no database, but long enough to be read as one'.repeat(100));
    const { json, exitCode, stderr } = await scene.run('status', '--json');
    expect(json[1]).toMatchObject({ guest: 'debian', state: 'running', lastBackup: null });
    expect({ exitCode, stderr }).toMatchObject({ exitCode: 3, stderr: expect.stringContaining('history') });
    for (const end of ['', '-wal', '-shm']) await rm(`${history}${end}`, { force: true });
  });

  test('as unreachable when its socket is gone and its disks are held, and then as not running', async () => {
    await rm(scene.fake.socketPath);
    expect(await statusOf(scene)).toMatchObject({
      ...{ state: 'unreachable', pid: scene.fake.pid, problem: { code: 'NoMconsoleSocket' } },
    });
    await scene.fake.stop();
    expect(await statusOf(scene)).toMatchObject({ state: 'notRunning', pid: null, problem: null });
  });
});

test('one that says nothing, or nonsense, is unreachable, and people are told why', () => {
  const fault = { kind: 'garbledAnswer', form: 'zeroHeader' } as const;
  return withScene({ fake: { misbehave: [{ fault }] } }, async (scene) => {
    const problem = { code: 'ReplyMalformed' };
    expect(await statusOf(scene)).toMatchObject({ state: 'unreachable', problem });
    expect((await scene.run('status')).stdout).toContain('debian: ');
  });
});
