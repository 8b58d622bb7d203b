import { writeFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { runCli } from '../support/cli.js';
import { setScene } from '../support/scene.js';
import { startScript } from '../support/script-child.js';

const scene = setScene({ fake: {} });

describe('a command line that is not understood exits 2, and says on stderr what it did not understand:', () => {
  test.each([
    [['nonsense'], /unknown command 'nonsense'/],
    [['list', '--nonsense'], /unknown option '--nonsense'/],
    [['snapshot'], /missing required argument 'guest'/],
    [['snapshot', 'debian', '--budget', '5'], /--budget 5: not a duration/],
  ])('umlsnap %s', async (args, said) => {
    const { exitCode, stdout, stderr } = await scene.run(...args);
    expect(stderr).toMatch(said);
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' });
    expect(scene.fake.received()).toEqual([]);
  });
});

test('asked for, help and version are no failure', async () => {
  for (const args of [['--version'], ['snapshot', '--help']]) {
    const { exitCode, stderr } = await runCli(args);
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
  }
});

describe('what does not exist exits 10:', () => {
  test.each([
    [['snapshot', 'nobody'], 'NoSuchGuest'],
    [['show', 'debian@../../etc'], 'NoSuchSnapshot'],
  ])('umlsnap %s', async (args, code) => {
    const { exitCode, json } = await scene.run(...args, '--json');
    expect(json).toMatchObject([{ type: 'error', code }]);
    expect(exitCode).toBe(10);
  });
});

test('verbs refuse what they do not understand, and what does not exist, before they ask a guest anything', async () => {
  const old = 'debian@20200101T000000Z';
  const refused: [unknown[], number, string | RegExp][] = [
    [['restore', 'debian@latest', {}], 2, /either --to DIR or --in-place/],
    [['restore', 'debian@latest', { to: '/x', inPlace: true }], 2, /either --to DIR or --in-place/],
    [['snapshot', 'debian', { budget: '0ms' }], 2, /--budget 0ms: not a duration/],
    [['snapshot', 'debian', { require: 'best' }], 2, /choose one of frozen, synced, crash/],
    [['snapshot', 'debian', { capture: 'magic' }], 2, /choose one of auto, reflink, precopy, copy/],
    [['snapshot', 'debian', { label: ['nothing'] }], 2, /write KEY=VALUE/],
    [['history', null, { limit: 'many' }], 2, /--limit many/],
    [['completion', 'tcsh'], 2, /choose one of bash, zsh, fish/],
    [['snapshot', 'constructor', {}], 10, 'NoSuchGuest'],
    [['list', 'nobody'], 10, 'NoSuchGuest'],
    [['prune', 'nobody', {}], 10, 'NoSuchGuest'],
    [['doctor', 'nobody', {}], 10, 'NoSuchGuest'],
    [['snapshot', 'debian', { store: 'nowhere' }], 10, 'NoSuchStore'],
    [['restore', 'debian@latest', { to: '/nonexistent/x' }], 10, 'NoSuchSnapshot'],
    [['verify', old, {}], 10, 'NoSuchSnapshot'],
    [['show', '20200101T000000Z-abcdef'], 10, 'NoSuchJob'],
    [['pin', old, true], 10, 'NoSuchSnapshot'],
  ];
  const asked = JSON.stringify(refused.map(([words]) => words));
  const child = startScript(new URL('./verbs-child.ts', import.meta.url), [scene.config, asked]);
  expect(await child.exited).toMatchObject({ exitCode: 0, stderr: '' });
  const answers = child.lines.map((line) => JSON.parse(line));
  expect(answers).toEqual(
    refused.map(([, exitCode, wanted]) =>
      typeof wanted === 'string'
        ? { exitCode, code: wanted, said: expect.any(String) }
        : { exitCode, code: 'Usage', said: expect.stringMatching(wanted) },
    ),
  );
  expect(scene.fake.received()).toEqual([]);
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
    const env = { HOME: scene.dir, UMLSNAP_CONFIG: '' };
    const { exitCode, stderr } = await runCli(['list'], { env });
    expect(stderr).toContain(`${scene.dir}/.config/umlsnap/config.yaml, /etc/umlsnap/config.yaml`);
    expect(exitCode).toBe(2);
  });

  test('that is wrong exits 2 with every problem at its line, before anything is touched', async () => {
    const file = scene.path('wrong.yaml');
    await writeFile(
      file,
      'stores:\n  a: { type: tape, path: /x }\nguests:\n  debian: { disks: {}, colour: red }\n',
    );
    for (const args of [
      ['config', 'check'],
      ['snapshot', 'debian'],
    ]) {
      const { exitCode, stderr, stdout } = await runCli(['-c', file, ...args]);
      expect(stderr).toContain(`${file}:2:`);
      expect(stderr).toContain(`${file}:4:`);
      expect(stderr).toContain('colour');
      expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' });
    }
  });
});
