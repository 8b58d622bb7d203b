import { writeFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { runCli } from '../support/cli.js';
import { setScene } from '../support/scene.js';
import { startScript } from '../support/script-child.js';

const scene = setScene({ fake: {} });

test.each([
  [['nonsense'], /unknown command 'nonsense'/],
  [['list', '--nonsense'], /unknown option '--nonsense'/],
  [['snapshot'], /missing required argument 'guest'/],
  [['snapshot', 'debian', '--budget', '5'], /--budget 5: not a duration/],
])(
  'a command line that is not understood exits 2, and says on stderr what it did not understand: %s',
  async (args, said) => {
    expect(await scene.run(...args)).toMatchObject({
      ...{ exitCode: 2, stdout: '', stderr: expect.stringMatching(said) },
    });
    expect(scene.fake.received()).toEqual([]);
  },
);

test('asked for, help and version are no failure', async () => {
  for (const args of [['--version'], ['snapshot', '--help']])
    expect(await runCli(args)).toMatchObject({ exitCode: 0, stderr: '' });
});

test.each([
  ['snapshot', 'nobody', 'NoSuchGuest'],
  ['show', 'debian@../../etc', 'NoSuchSnapshot'],
])('what does not exist exits 10: umlsnap %s %s', async (verb, name, code) => {
  const json = [{ type: 'error', code }];
  expect(await scene.run(verb, name, '--json')).toMatchObject({ exitCode: 10, json });
});

test('verbs refuse what they do not understand, and what does not exist, before they ask a guest anything', async () => {
  const old = 'debian@20200101T000000Z';
  const eitherOr = /either --to DIR or --in-place/;
  const refused: [unknown[], RegExp | string][] = [
    [['restore', 'debian@latest', {}], eitherOr],
    [['restore', 'debian@latest', { to: '/x', inPlace: true }], eitherOr],
    [['snapshot', 'debian', { budget: '0ms' }], /--budget 0ms: not a duration/],
    [['snapshot', 'debian', { require: 'best' }], /choose one of frozen, synced, crash/],
    [['snapshot', 'debian', { capture: 'magic' }], /choose one of auto, reflink, precopy, copy/],
    [['snapshot', 'debian', { label: ['nothing'] }], /write KEY=VALUE/],
    [['history', null, { limit: 'many' }], /--limit many/],
    [['completion', 'tcsh'], /choose one of bash, zsh, fish/],
    [['snapshot', 'constructor', {}], 'NoSuchGuest'],
    [['list', 'nobody'], 'NoSuchGuest'],
    [['prune', 'nobody', {}], 'NoSuchGuest'],
    [['doctor', 'nobody', {}], 'NoSuchGuest'],
    [['snapshot', 'debian', { store: 'nowhere' }], 'NoSuchStore'],
    [['restore', 'debian@latest', { to: '/nonexistent/x' }], 'NoSuchSnapshot'],
    [['verify', old, {}], 'NoSuchSnapshot'],
    [['show', '20200101T000000Z-abcdef'], 'NoSuchJob'],
    [['pin', old, true], 'NoSuchSnapshot'],
  ];
  const asked = JSON.stringify(refused.map(([words]) => words));
  const child = startScript(new URL('./verbs-child.ts', import.meta.url), [scene.config, asked]);
  expect(await child.exited).toMatchObject({ exitCode: 0, stderr: '' });
  expect(child.lines.map((line) => JSON.parse(line))).toEqual(
    refused.map(([, wanted]) =>
      typeof wanted === 'string'
        ? { exitCode: 10, code: wanted, said: expect.any(String) }
        : { exitCode: 2, code: 'Usage', said: expect.stringMatching(wanted) },
    ),
  );
  expect(scene.fake.received()).toEqual([]);
});

describe('the config', () => {
  test('is named before or after the verb, or by the environment, and so is --json', async () => {
    const ways: [string[], Record<string, string>?][] = [
      [['-c', scene.config, '--json', 'config', 'check']],
      [['config', 'check', '--json', '-c', scene.config]],
      [['config', 'check', '--json'], { UMLSNAP_CONFIG: scene.config }],
    ];
    const json = [{ type: 'summary', config: { file: scene.config } }];
    for (const [args, env = {}] of ways)
      expect(await runCli(args, { env })).toMatchObject({ exitCode: 0, stderr: '', json });
  });

  test('that is not there exits 2 and tells where it was looked for', async () => {
    const env = { HOME: scene.dir, UMLSNAP_CONFIG: '' };
    const { exitCode, stderr } = await runCli(['list'], { env });
    expect(stderr).toContain(`${scene.dir}/.config/umlsnap/config.yaml, /etc/umlsnap/config.yaml`);
    expect(exitCode).toBe(2);
  });

  test('that is wrong exits 2 with every problem at its line, before anything is touched', async () => {
    const file = scene.path('wrong.yaml');
    const wrong = 'stores:\n  a: { type: tape, path: /x }\nguests:\n  debian: { disks: {}, colour: red }\n';
    await writeFile(file, wrong);
    for (const words of ['config check', 'snapshot debian']) {
      const { exitCode, stderr, stdout } = await runCli(['-c', file, ...words.split(' ')]);
      for (const part of [`${file}:2:`, `${file}:4:`, 'colour']) expect(stderr).toContain(part);
      expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' });
    }
  });
});
