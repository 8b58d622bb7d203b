import { writeFile } from 'node:fs/promises';
import { Command } from 'commander';
import { describe, expect, test } from 'vitest';
import { completionVerb } from '../../src/cli/completion.js';
import { type Context, contextOf } from '../../src/cli/context.js';
import { doctorVerb } from '../../src/cli/doctor.js';
import { drillVerb } from '../../src/cli/drill.js';
import { eventsVerb } from '../../src/cli/events.js';
import { exportVerb } from '../../src/cli/export.js';
import { filesVerb } from '../../src/cli/files.js';
import { historyVerb } from '../../src/cli/history.js';
import { listVerb } from '../../src/cli/list.js';
import { mconsoleVerb } from '../../src/cli/mconsole.js';
import { pinVerb } from '../../src/cli/pin.js';
import { pruneVerb } from '../../src/cli/prune.js';
import { restoreVerb } from '../../src/cli/restore.js';
import { showVerb } from '../../src/cli/show.js';
import { snapshotVerb } from '../../src/cli/snapshot.js';
import { verifyVerb } from '../../src/cli/verify.js';
import { explainError } from '../../src/error-text.js';
import { UmlsnapError } from '../../src/errors.js';
import { exitCodeOf } from '../../src/exit-codes.js';
import { DirectoryStore } from '../../src/store/directory-store.js';
import { sealSparse } from '../store/sparse-snapshots.js';
import { runCli } from '../support/cli.js';
import { setScene } from '../support/scene.js';

const scene = setScene({ fake: {} });

test.each([
  [['lisst'], /unknown command 'lisst'\n\(Did you mean list\?\)\n\(umlsnap --help [^\n]*\)\n$/],
  [['list', '--nonsense'], /unknown option '--nonsense'/],
  [['remove', 'debian@latest', '--store', 'a', '--store', 'b'], /'b' is invalid. It can be given once/],
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

describe('before it asks a guest anything, a verb refuses', () => {
  const old = 'debian@20200101T000000Z';
  const eitherOr = /either --to DIR or --in-place/;
  const refusalBy = async (verb: (context: Context, ...given: never[]) => unknown, given: unknown[]) => {
    const context = contextOf({ config: scene.config, quiet: true });
    const error = await (async () => verb(context, ...(given as never[])))().catch(
      (thrown: unknown) => thrown,
    );
    if (!(error instanceof UmlsnapError)) throw error;
    expect(scene.fake.received()).toEqual([]);
    return { exitCode: exitCodeOf(error.code), code: error.code, said: explainError(error) };
  };

  test.each([
    [eitherOr, restoreVerb, 'debian@latest', {}],
    [eitherOr, restoreVerb, 'debian@latest', { to: '/x', inPlace: true }],
    [/--in-place puts back .*--merge --to DIR/, restoreVerb, 'debian@latest', { inPlace: true, merge: true }],
    [/--disk goes with --path/, restoreVerb, 'debian@latest', { to: '/x', merge: true, disk: 'ubd1' }],
    [/leave out --merge/, restoreVerb, 'debian@latest', { to: '/x', path: '/etc', merge: true }],
    [/--budget 0ms: not a duration/, snapshotVerb, 'debian', { budget: '0ms' }],
    [/choose one of frozen, synced, crash/, snapshotVerb, 'debian', { require: 'best' }],
    [/choose one of auto, reflink, precopy, copy/, snapshotVerb, 'debian', { capture: 'magic' }],
    [/write KEY=VALUE/, snapshotVerb, 'debian', { label: ['nothing'] }],
    [/--limit many/, historyVerb, null, { limit: 'many' }],
    [
      /choose one of bash, zsh, fish/,
      (_: Context, shell: string) => completionVerb(new Command(), shell),
      'tcsh',
    ],
  ])('what it does not understand: %s', async (said, verb, ...given) => {
    expect(await refusalBy(verb, given)).toEqual({
      exitCode: 2,
      code: 'Usage',
      said: expect.stringMatching(said),
    });
  });

  test.each([
    ['NoSuchGuest', snapshotVerb, 'constructor', {}],
    ['NoSuchGuest', listVerb, 'nobody'],
    ['NoSuchGuest', pruneVerb, 'nobody', {}],
    ['NoSuchGuest', doctorVerb, 'nobody', {}],
    ['NoSuchGuest', historyVerb, 'nobody', { limit: '1' }],
    ['NoSuchGuest', eventsVerb, 'nobody', { limit: '1' }],
    ['NoSuchGuest', verifyVerb, undefined, { guest: 'nobody' }],
    ['NoSuchGuest', mconsoleVerb, 'nobody', ['version']],
    ['NoSuchStore', snapshotVerb, 'debian', { store: 'nowhere' }],
    ['NoSuchSnapshot', restoreVerb, 'debian@latest', { to: '/nonexistent/x' }],
    ['NoSuchSnapshot', restoreVerb, 'nobody@latest', { inPlace: true }],
    ['NoSuchSnapshot', restoreVerb, 'nobody@latest', { to: '/nonexistent/x', path: '/etc' }],
    ['NoSuchSnapshot', exportVerb, 'nobody@latest', {}],
    ['NoSuchSnapshot', filesVerb, 'nobody@latest', '/', {}],
    ['NoSuchSnapshot', drillVerb, 'nobody@latest', {}],
    ['NoSuchSnapshot', showVerb, 'nobody@latest'],
    ['NoSuchSnapshot', verifyVerb, 'nobody', {}],
    ['NoSuchSnapshot', pinVerb, 'nobody', false],
    ['NoSuchSnapshot', verifyVerb, old, {}],
    ['NoSuchJob', showVerb, '20200101T000000Z-abcdef'],
    ['NoSuchSnapshot', pinVerb, old, true],
  ])('what does not exist: %s', async (code, verb, ...given) => {
    expect(await refusalBy(verb, given)).toMatchObject({ exitCode: 10, code });
  });
});

test('a guest that the config no longer has is known as long as a store has a snapshot of it, or the history a job', async () => {
  const context = contextOf({ config: scene.config, quiet: true, json: true });
  const store = new DirectoryStore({ name: 'local', path: scene.store });
  await store.prepare(null);
  await sealSparse(store, 'gone@20261121T031500Z');
  const ask = () => [
    historyVerb(context, 'gone', { limit: '1' }),
    listVerb(context, 'gone'),
    verifyVerb(context, undefined, { guest: 'gone' }),
  ];
  expect(await Promise.all(ask())).toEqual([0, 0, 0]);
  await store.remove('gone@20261121T031500Z');
  expect(await Promise.all(ask())).toEqual([0, 0, 0]);
});

describe('the config', () => {
  test('is named before or after the verb, or by the environment, and so is --json', async () => {
    const ways: [string[], Record<string, string>?][] = [
      [['-c', scene.config, '--json', 'config', 'check']],
      [['config', 'check', '--json', '-c', scene.config]],
      [['config', 'check', '--json'], { UMLSNAP_CONFIG: scene.config }],
    ];
    const json = [{ type: 'summary', file: scene.config, config: { state: scene.state } }];
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
