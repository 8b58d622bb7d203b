import { writeFile } from 'node:fs/promises';
import { Command } from 'commander';
import { describe, expect, test } from 'vitest';
import { completionVerb } from '../../src/cli/completion.js';
import { type Context, contextOf } from '../../src/cli/context.js';
import { doctorVerb } from '../../src/cli/doctor.js';
import { historyVerb } from '../../src/cli/history.js';
import { listVerb } from '../../src/cli/list.js';
import { pinVerb } from '../../src/cli/pin.js';
import { pruneVerb } from '../../src/cli/prune.js';
import { restoreVerb } from '../../src/cli/restore.js';
import { showVerb } from '../../src/cli/show.js';
import { snapshotVerb } from '../../src/cli/snapshot.js';
import { verifyVerb } from '../../src/cli/verify.js';
import { explainError } from '../../src/error-text.js';
import { UmlsnapError } from '../../src/errors.js';
import { exitCodeOf } from '../../src/exit-codes.js';
import { runCli } from '../support/cli.js';
import { setScene } from '../support/scene.js';

const scene = setScene({ fake: {} });

/** What a verb refuses, before the guest was asked anything. */
async function refusalBy(verb: (context: Context) => unknown) {
  const error = await (async () => verb(contextOf({ config: scene.config, quiet: true })))().then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof UmlsnapError)) throw error ?? new Error('nothing was refused');
  expect(scene.fake.received()).toEqual([]);
  return { code: error.code, exitCode: exitCodeOf(error.code), said: explainError(error) };
}

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

  const both = { to: '/x', inPlace: true };
  const verbs: [string, (context: Context) => unknown, RegExp][] = [
    ['restore to nowhere', (it) => restoreVerb(it, 'debian@latest', {}), /either --to DIR or --in-place/],
    ['restore twice', (it) => restoreVerb(it, 'debian@latest', both), /either --to DIR or --in-place/],
    ['no budget', (it) => snapshotVerb(it, 'debian', { budget: '0ms' }), /--budget 0ms: not a duration/],
    ['best', (it) => snapshotVerb(it, 'debian', { require: 'best' }), /one of frozen, synced, crash/],
    [
      'magic',
      (it) => snapshotVerb(it, 'debian', { capture: 'magic' }),
      /one of auto, reflink, precopy, copy/,
    ],
    ['half a label', (it) => snapshotVerb(it, 'debian', { label: ['nothing'] }), /write KEY=VALUE/],
    ['many', (it) => historyVerb(it, undefined, { limit: 'many' }), /--limit many/],
    ['a shell', () => completionVerb(new Command(), 'tcsh'), /choose one of bash, zsh, fish/],
  ];
  test.each(verbs)('%s', async (_, verb, said) => {
    expect(await refusalBy(verb)).toMatchObject({ exitCode: 2, said: expect.stringMatching(said) });
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

  const old = 'debian@20200101T000000Z';
  const doctor = { nagios: false, stopGo: false };
  const verbs: [string, (context: Context) => unknown, string][] = [
    ['snapshot constructor', (it) => snapshotVerb(it, 'constructor', {}), 'NoSuchGuest'],
    ['list', (it) => listVerb(it, 'nobody'), 'NoSuchGuest'],
    ['prune', (it) => pruneVerb(it, 'nobody', {}), 'NoSuchGuest'],
    ['doctor', (it) => doctorVerb(it, 'nobody', doctor), 'NoSuchGuest'],
    ['snapshot --store', (it) => snapshotVerb(it, 'debian', { store: 'nowhere' }), 'NoSuchStore'],
    ['restore', (it) => restoreVerb(it, 'debian@latest', { to: '/nonexistent/x' }), 'NoSuchSnapshot'],
    ['verify', (it) => verifyVerb(it, old, {}), 'NoSuchSnapshot'],
    ['show', (it) => showVerb(it, '20200101T000000Z-abcdef'), 'NoSuchJob'],
    ['pin', (it) => pinVerb(it, old, true), 'NoSuchSnapshot'],
  ];
  test.each(verbs)('%s', async (_, verb, code) => {
    expect(await refusalBy(verb)).toMatchObject({ exitCode: 10, code });
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
