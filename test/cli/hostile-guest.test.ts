import { copyFile, mkdir, symlink, writeFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { DirectoryStore } from '../../src/store/directory-store.js';
import { withFakeGuest } from '../fixtures/fake-guest.js';
import { sealSparse } from '../store/sparse-snapshots.js';
import { type CliResult, jsonLines } from '../support/cli.js';
import { runTool } from '../support/run-tool.js';
import { expectFailed, resultOf, withScene } from '../support/scene.js';

const harmful =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not come through
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/;
/** It clears the screen, by one character as well, turns what follows, and ends the line for some. */
const hostile = 'a\u001b[2J\u009b31mb\u202ec\u2066d\u061ce\u200ff\u2028g\u007fh';

function expectHarmless({ stdout, stderr }: CliResult): void {
  expect(stdout).not.toMatch(harmful);
  expect(stderr).not.toMatch(harmful);
}

test('a disk that a guest names by escape sequences and a line of its own gets neither to the terminal', () =>
  withScene({ guest: null }, async (scene) => {
    const disk = scene.path('disk.img');
    const words = '\u001b]0;owned\u0007\u001b[2J\u009b31mdisk\nguest debian: all is well\u202e.img';
    const name = scene.path(words);
    await writeFile(disk, Buffer.alloc(2 ** 20, 7));
    await symlink(disk, name);
    // A second file makes it a COW disk, which the config does not know of: the guest's words are then quoted.
    const disks = { ubd0: `${name},/base` };
    await withFakeGuest({ dir: scene.path('g'), disks }, async ({ socketPath }) => {
      await scene.configure({ debian: { mconsole: socketPath, disks: { ubd0: disk } } });
      const shown = await scene.run('snapshot', 'debian');
      expectHarmless(shown);
      expect(shown.stderr).toContain('is not what the config says');
      expect(shown.stderr).not.toMatch(/^guest debian: all is well/m);
      const asJson = await scene.startSnapshot().exited;
      expectHarmless(asJson);
      expect(expectFailed(resultOf(asJson), 'DiskMismatch').error?.message).not.toMatch(harmful);
      expectHarmless(await scene.run('history'));
      expectHarmless(await scene.run('show', (await scene.newestJob()).job));
    });
  }));

test('a guest with several CPUs is refused, for its stop would leave the others running, unless its owner accepts that', () =>
  withScene({ fake: { cpus: 2 } }, async (scene) => {
    const summary = expectFailed(await scene.snapshot(), 'GuestHasSeveralCpus');
    expect(summary.error?.message).toContain('has 2 CPUs');
    expect(scene.fake.received().map(({ command }) => command)).not.toContain('stop');
    const accepting = await scene.variant({ allowSmp: true, require: 'crash' });
    expect((await accepting.snapshot('--dry-run')).summary).toMatchObject({ error: null });
  }));

test('words from a share, from a file in an image, from the history and from a guest reach no terminal as they are, and programs whole', () =>
  withScene({ fake: { version: hostile } }, async (scene) => {
    const [tree, image] = [scene.path('tree'), scene.path('ext.img')];
    await mkdir(tree);
    await writeFile(scene.path('tree', hostile), 'text');
    await symlink(hostile, scene.path('tree', 'link'));
    await runTool('mke2fs', ['-q', '-t', 'ext4', '-d', tree, image, '4M']);
    const store = new DirectoryStore({ name: 'local', path: scene.store });
    await store.prepare(null);
    const snapshot = 'debian@20261121T031500Z';
    // As who can write to the store has made it.
    const changes = { kernel: `${hostile}\nverified     all is well`, labels: { note: hostile } };
    await sealSparse(store, snapshot, { ubd0: { from: image } }, changes);
    const event = { at: new Date().toISOString(), guest: 'debian', type: 'message' as const, missed: 0 };
    await scene.withHistory((history) => history.recordEvent({ ...event, text: hostile }));

    /** In words, and as JSON. */
    const both = async (...args: string[]) => {
      const [inWords, asJson] = await Promise.all([scene.run(...args), scene.run(...args, '--json')]);
      for (const shown of [inWords, asJson]) expectHarmless(shown);
      return { inWords, objects: asJson.json };
    };
    const show = await both('show', snapshot);
    expect(show.inWords.stdout).not.toMatch(/^verified +all is well/m);
    expect(show.objects).toMatchObject([changes]);
    expect((await both('events')).objects).toMatchObject([{ text: hostile }]);
    const { objects: files } = await both('files', snapshot);
    const names = files.map(({ name, nameBase64 }) =>
      Buffer.from(`${nameBase64 ?? btoa(`${name}`)}`, 'base64').toString(),
    );
    expect(names).toContain(hostile);
    await both('files', snapshot, hostile);
    await both('files', snapshot, `no${hostile}`);
    for (const verb of ['list', 'status']) await both(verb);
    const { inWords: version } = await both('mconsole', 'debian', 'version');
    expect(version).toMatchObject({ exitCode: 0, stdout: 'abcdefgh\n' });
  }));

const onTerminal = 'exec script -qec "echo PID \\$\\$; exec $(printf "%q " "$@")" /dev/null';
// biome-ignore lint/suspicious/noControlCharactersInRegex: the colours are our own
const ownColours = /\u001b\[\d+m|\r/g;

test.each([
  ['as JSON', [], /(?!)/g],
  ['on a terminal', ['bash', '-c', onTerminal, 'bash'], ownColours],
])('the log of a daemon, %s, acts on no terminal', (_, through, own) =>
  withScene({ guest: null }, async (scene) => {
    const config = scene.path(`${hostile}.yaml`);
    await copyFile(scene.config, config);
    const options = { through, env: { SHELL: '/bin/bash' } };
    const daemon = scene.start(['-c', config, 'daemon'], options);
    await daemon.waitForOutput(/daemon runs/);
    const pid = Number(/PID (\d+)/.exec(daemon.stdout())?.[1] ?? daemon.pid);
    await writeFile(config, 'guests: [');
    process.kill(pid, 'SIGHUP');
    await daemon.waitForOutput(/stays in force/);
    process.kill(pid, 'SIGTERM');
    const { stdout, stderr, ...ended } = await daemon.exited;
    expect(ended.exitCode).toBe(0);
    const log = (stdout + stderr).replaceAll(own, '');
    expect(log).toContain('1 problem');
    expect(log).not.toMatch(harmful);
    if (through.length === 0)
      expect(
        jsonLines(stderr)
          .map(({ msg }) => msg)
          .join(),
      ).toContain(config);
  }),
);
