import { afterAll, beforeAll, expect, test } from 'vitest';
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

test('any command by hand is sent as it stands, and a line for the log with its end, by the name in the config or by the path of a socket', async () => {
  expect(await scene.run('mconsole', 'debian', 'version')).toMatchObject({
    ...{ exitCode: 0, stderr: '', stdout: expect.stringMatching(/^Linux fake /) },
  });
  await scene.run('mconsole', 'debian', 'config', 'ubd0');
  await runCli(['mconsole', guest.socketPath, 'log', 'hello', 'there'], {
    env: { UMLSNAP_CONFIG: '', HOME: dir },
  });
  expect(guest.received().map(({ command }) => command)).toEqual([
    'version',
    'config ubd0',
    'log hello there\n',
  ]);
});

test('with --json the answer is one object', async () => {
  const { json } = await scene.run('--json', 'mconsole', 'debian', 'help');
  expect(json).toMatchObject([
    { kind: 'mconsole', guest: 'debian', command: 'help', text: expect.stringContaining('version') },
  ]);
});

test("a command that the guest does not know is an error with the guest's own words", async () => {
  const { exitCode, stderr } = await scene.run('mconsole', 'debian', 'dance');
  expect(stderr).toContain('The guest refused `dance`: Unknown command (1).');
  expect(exitCode).toBe(1);
});

test('an option of ours behind the command is a part of the command', async () => {
  const { json, exitCode } = await scene.run('--json', 'mconsole', 'debian', 'log', '--wait');
  expect(exitCode).toBe(0);
  expect(json).toMatchObject([{ command: 'log --wait' }]);
});

test('a file that never ends is not asked for', async () => {
  const before = guest.received().length;
  const { exitCode, stderr } = await scene.run('mconsole', 'debian', 'proc', 'kcore');
  expect(stderr).toContain('never ends');
  expect(exitCode).toBe(2);
  expect(guest.received()).toHaveLength(before);
});

test('a name that leads to no console tells where it was looked for', async () => {
  const { exitCode, stderr } = await scene.run('mconsole', 'nobody', 'version');
  expect(stderr).toContain('.uml/nobody/mconsole');
  expect(exitCode).toBe(1);
});
