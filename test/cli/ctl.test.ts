import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { FakeGuest } from '../fixtures/fake-guest.js';
import type { Scene } from '../snapshot/scene.js';
import type { RunningCli } from '../support/cli.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { setSmallScene } from './small-guest.js';

let dir: string;
let scene: Scene;
let guest: FakeGuest;
let daemon: RunningCli | undefined;
beforeEach(async () => {
  dir = await makeTempDir();
  ({ scene, guest } = await setSmallScene(dir));
});
afterEach(async () => {
  daemon?.kill('SIGKILL');
  await daemon?.exited;
  daemon = undefined;
  await guest.stop();
  await removeTempDir(dir);
});

async function start(...settings: string[]): Promise<RunningCli> {
  daemon = scene.start(['daemon', ...settings]);
  await daemon.waitForOutput(/daemon runs/);
  return daemon;
}

describe('umlsnap ctl', () => {
  test('shows the settings that the daemon was started with, and changes them, as kdstat does', async () => {
    const { pid } = await start('keep', 'delay=30', 'type=-3');
    const { stdout, exitCode } = await scene.run('ctl');
    expect({ stdout, exitCode }).toEqual({
      stdout: `pid=${pid}, delay=30, keep, nodebug, type=-3\nno jobs\n`,
      exitCode: 0,
    });
    const changed = await scene.run('ctl', '--json', 'nokeep', 'debug', 'delay=7', 'type=2');
    expect(changed.json[0]).toMatchObject({
      ...{ type: 'daemon', pid, configFile: scene.config, state: scene.state },
      settings: { debug: true, keep: false, delaySeconds: 7, type: 2 },
    });
    expect((await scene.run('ctl')).stdout).toContain('delay=7, nokeep, debug, type=2');
  });

  test('asks for something, and exits as what it came to', async () => {
    const running = await start('debug');
    const status = await scene.run('ctl', '--json', 'request', 'status', 'debian');
    expect(status).toMatchObject({ exitCode: 0, json: [{ type: 'guest', guest: 'debian' }] });
    expect((await scene.run('ctl', 'request', '4')).stdout).toMatch(/"guest":"debian"[\s\S]*status 0\n$/);
    const snapshot = await scene.run('ctl', '--json', 'request', 'verify', 'debian@latest');
    expect(snapshot).toMatchObject({ exitCode: 10, json: [{ type: 'error', code: 'NoSuchSnapshot' }] });
    expect(await scene.run('ctl', 'request', 'drill', 'debian@latest')).toMatchObject({ exitCode: 10 });
    expect(await scene.run('ctl', 'request', '9')).toMatchObject({ exitCode: 2 });
    expect(await scene.run('ctl', 'request', 'reboot')).toMatchObject({ exitCode: 2 });
    expect(await scene.run('ctl', 'request', 'cancel', '5')).toMatchObject({ exitCode: 10 });
    expect(await scene.run('ctl', 'request', '--no-answer', 'prune')).toMatchObject({
      exitCode: 0,
      stdout: '',
    });
    await running.waitForOutput(/"kind":"prune".*"msg":"prune done"/);
  });

  test.each([
    [['ctl', 'delay=0'], 2, 'Usage'],
    [['ctl', 'flush'], 2, 'Usage'],
    [['daemon', 'kepe'], 2, 'Usage'],
    [['ctl'], 10, 'NoDaemon'],
    [['ctl', 'keep'], 10, 'NoDaemon'],
    [['ctl', 'request', 'status'], 10, 'NoDaemon'],
  ])('%j without a daemon exits %i', async (args, exitCode, code) => {
    expect(await scene.run('--json', ...args)).toMatchObject({ exitCode, json: [{ type: 'error', code }] });
  });
});

describe('a daemon', () => {
  test('leaves no socket behind, and takes the place of one that was killed', async () => {
    const socket = join(scene.state, 'control.sock');
    const killed = await start();
    killed.kill('SIGKILL');
    await killed.exited;
    expect(existsSync(socket)).toBe(true);
    const ended = await start();
    expect((await scene.run('ctl')).exitCode).toBe(0);
    ended.kill('SIGTERM');
    expect(await ended.exited).toMatchObject({ exitCode: 0 });
    expect(existsSync(socket)).toBe(false);
  });

  test('whose socket can not be made runs all the same, and says so', async () => {
    await mkdir(join(scene.state, 'control.sock'), { recursive: true, mode: 0o700 });
    const running = await start();
    expect(running.stderr()).toMatch(/control.sock can't be used: there is something that is no socket/);
    expect((await scene.run('ctl')).exitCode).toBe(10);
    // With a warning or without: by what it would be captured depends on the host.
    expect([0, 3]).toContain((await scene.run('snapshot', 'debian', '--dry-run')).exitCode);
  });

  test('that ends gives up what it was asked for, and tells whoever waits', async () => {
    await guest.stop();
    const slow = { on: 'version', fault: { kind: 'delayAnswer', delayMs: 3000 } } as const;
    ({ scene, guest } = await setSmallScene(dir, { misbehave: [slow] }));
    const running = await start();
    const waiting = scene.start(['snapshot', 'debian', '--json']);
    await waiting.waitForOutput(/"phase":"preflight"/);
    running.kill('SIGTERM');
    expect(await running.exited).toMatchObject({ exitCode: 0 });
    const { exitCode, json } = await waiting.exited;
    expect({ exitCode, last: json.at(-1) }).toMatchObject({
      ...{ exitCode: 130, last: { type: 'summary', status: 'interrupted', error: { code: 'Interrupted' } } },
    });
  });
});
