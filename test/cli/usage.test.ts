import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { FakeGuest } from '../fixtures/fake-guest.js';
import type { Scene } from '../snapshot/scene.js';
import { runCli } from '../support/cli.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { setSmallScene } from './small-guest.js';

let dir: string;
let scene: Scene;
let guest: FakeGuest;
beforeAll(async () => {
  dir = await makeTempDir();
  ({ scene, guest } = await setSmallScene(dir));
});
afterAll(async () => {
  await guest?.stop();
  await removeTempDir(dir);
});

describe('a command line that is not understood exits 2, and says on stderr what it did not understand', () => {
  test.each([
    [['nonsense'], /unknown command 'nonsense'/],
    [['list', '--nonsense'], /unknown option '--nonsense'/],
    [['snapshot'], /missing required argument 'guest'/],
    [['restore', 'debian@latest'], /either --to DIR or --in-place/],
    [['restore', 'debian@latest', '--to', '/x', '--in-place'], /either --to DIR or --in-place/],
    [['snapshot', 'debian', '--budget', '5'], /--budget 5: not a duration/],
    [['snapshot', 'debian', '--budget', '0ms'], /--budget 0ms: not a duration/],
    [['snapshot', 'debian', '--require', 'best'], /choose one of frozen, synced, crash/],
    [['snapshot', 'debian', '--capture', 'magic'], /choose one of auto, reflink, precopy, copy/],
    [['snapshot', 'debian', '--label', 'nothing'], /write KEY=VALUE/],
    [['history', '--limit', 'many'], /--limit many/],
    [['completion', 'tcsh'], /choose one of bash, zsh, fish/],
  ])('umlsnap %s', async (args, said) => {
    const { exitCode, stdout, stderr } = await scene.run(...args);
    expect(stderr).toMatch(said);
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' });
    expect(guest.received()).toEqual([]);
  });
});

test('asked for, help and version are no failure', async () => {
  for (const args of [['--help'], ['--version'], ['snapshot', '--help']]) {
    const { exitCode, stderr } = await runCli(args);
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
  }
});

describe('what does not exist exits 10', () => {
  test.each([
    [['snapshot', 'nobody'], 'NoSuchGuest'],
    [['snapshot', 'constructor'], 'NoSuchGuest'],
    [['list', 'nobody'], 'NoSuchGuest'],
    [['prune', 'nobody'], 'NoSuchGuest'],
    [['doctor', 'nobody'], 'NoSuchGuest'],
    [['snapshot', 'debian', '--store', 'nowhere'], 'NoSuchStore'],
    [['restore', 'debian@latest', '--to', '/nonexistent/x'], 'NoSuchSnapshot'],
    [['verify', 'debian@20200101T000000Z'], 'NoSuchSnapshot'],
    [['show', 'debian@../../etc'], 'NoSuchSnapshot'],
    [['show', '20200101T000000Z-abcdef'], 'NoSuchJob'],
    [['pin', 'debian@20200101T000000Z'], 'NoSuchSnapshot'],
  ])('umlsnap %s', async (args, code) => {
    const { exitCode, json } = await scene.run(...args, '--json');
    expect(json).toMatchObject([{ type: 'error', code }]);
    expect(exitCode).toBe(10);
  });
});

describe('the config', () => {
  test('is named before or after the verb, or by the environment, and so is --json', async () => {
    const ways: [string[], Record<string, string>][] = [
      [['-c', scene.config, '--json', 'config', 'check'], {}],
      [['config', 'check', '--json', '-c', scene.config], {}],
      [['config', 'check', '--json'], { UMLSNAP_CONFIG: scene.config }],
    ];
    for (const [args, env] of ways) {
      const { exitCode, json, stderr } = await runCli(args, { env });
      expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
      expect(json).toMatchObject([{ type: 'summary', config: { file: scene.config } }]);
    }
  });

  test('that is not there exits 2 and tells where it was looked for', async () => {
    const { exitCode, stderr } = await runCli(['list'], { env: { HOME: dir, UMLSNAP_CONFIG: '' } });
    expect(stderr).toContain(`${dir}/.config/umlsnap/config.yaml, /etc/umlsnap/config.yaml`);
    expect(exitCode).toBe(2);
  });

  test('that is wrong exits 2 with every problem at its line, before anything is touched', async () => {
    const file = join(dir, 'wrong.yaml');
    await writeFile(
      file,
      'stores:\n  a: { type: tape, path: /x }\nguests:\n  debian: { disks: {}, colour: red }\n',
    );
    for (const args of [['config', 'check'], ['snapshot', 'debian'], ['list']]) {
      const { exitCode, stderr, stdout } = await runCli(['-c', file, ...args]);
      expect(stderr).toContain(`${file}:2:`);
      expect(stderr).toContain(`${file}:4:`);
      expect(stderr).toContain('colour');
      expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' });
    }
  });
});
