import { symlink, writeFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { withFakeGuest } from '../fixtures/fake-guest.js';
import type { CliResult } from '../support/cli.js';
import { expectFailed, resultOf, withScene } from '../support/scene.js';

// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not come through
const harmful = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e]/;

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
