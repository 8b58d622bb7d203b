import { expect, test } from 'vitest';
import { runCli } from '../support/cli.js';
import { setScene } from '../support/scene.js';

const scene = setScene({ fake: {} });
/** But for what whoever looks for the guests of this host, as another test does, asks each of them. */
const sent = () =>
  scene.fake
    .received()
    .map(({ command }) => command)
    .filter((command) => command !== 'version');

test('any command by hand is sent as it stands, and a line for the log with its end and what looks like an option of ours, by the name in the config or by the path of a socket; with --json the answer is one object', async () => {
  const stdout = expect.stringMatching(/^Linux fake /);
  expect(await scene.run('mconsole', 'debian', 'version')).toMatchObject({ exitCode: 0, stderr: '', stdout });
  const text = expect.stringContaining('version');
  expect((await scene.run('--json', 'mconsole', 'debian', 'help')).json).toMatchObject([
    { kind: 'mconsole', guest: 'debian', command: 'help', text },
  ]);
  const env = { UMLSNAP_CONFIG: '', HOME: scene.dir };
  const byPath = ['--json', 'mconsole', scene.fake.socketPath, 'log', 'hello', '--wait'];
  expect((await runCli(byPath, { env })).json).toMatchObject([{ command: 'log hello --wait' }]);
  expect(sent()).toEqual(['help', 'log hello --wait\n']);
});

test.each([
  ['dance', ['debian', 'dance'], /The guest refused `dance`: Unknown command \(1\)\./, 1, ['dance']],
  ['a file that never ends', ['debian', 'proc', 'kcore'], /never ends/, 2, []],
  ['a console that is nowhere', ['nobody', 'version'], /\.uml\/nobody\/mconsole/, 10, []],
])('%s is refused, and people are told why', async (_, words, said, exitCode, asked) => {
  const before = sent().length;
  const refused = await scene.run('mconsole', ...words);
  expect(refused.stderr).toMatch(said);
  expect(refused.exitCode).toBe(exitCode);
  expect(sent().slice(before)).toEqual(asked);
});
