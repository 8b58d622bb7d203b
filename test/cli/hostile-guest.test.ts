import { symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { expectFailed } from '../snapshot/scene.js';
import type { CliResult } from '../support/cli.js';
import { withTempDir } from '../support/temp-dir.js';
import { setSmallScene } from './small-guest.js';

// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not come through
const harmful = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e]/;

function expectHarmless({ stdout, stderr }: CliResult): void {
  expect(stdout).not.toMatch(harmful);
  expect(stderr).not.toMatch(harmful);
}

test('a disk that a guest names by escape sequences and a line of its own gets neither to the terminal', async () => {
  await withTempDir(async (dir) => {
    const name = join(dir, '\u001b]0;owned\u0007\u001b[2J\u009b31mdisk\nguest debian: all is well\u202e.img');
    await symlink(join(dir, 'disk.img'), name);
    // A second file makes it a COW disk, which the config does not know of: the guest's words are then quoted.
    const { scene, guest } = await setSmallScene(dir, { disks: { ubd0: `${name},/base` } });
    try {
      const shown = await scene.run('snapshot', 'debian');
      expectHarmless(shown);
      expect(shown.stderr).toContain('is not what the config says');
      expect(shown.stderr).not.toMatch(/^guest debian: all is well/m);
      const { summary } = { ...(await scene.snapshot()) };
      expect(summary.error?.code).toBe('DiskMismatch');
      expect(summary.error?.message).not.toMatch(harmful);
      expectHarmless(await scene.run('history'));
      expectHarmless(await scene.run('show', String(summary.job)));
    } finally {
      await guest.stop();
    }
  });
});

test('a guest with several CPUs is refused, for its stop would leave the others running', async () => {
  await withTempDir(async (dir) => {
    const { scene, guest } = await setSmallScene(dir, { cpus: 2 });
    try {
      const summary = expectFailed(await scene.snapshot(), 'GuestHasSeveralCpus');
      expect(summary.error?.message).toContain('has 2 CPUs');
      expect(guest.received().map(({ command }) => command)).not.toContain('stop');
    } finally {
      await guest.stop();
    }
  });
});

test('one whose owner accepts that is not', async () => {
  await withTempDir(async (dir) => {
    const settings = { allowSmp: true, require: 'crash' };
    const { scene, guest } = await setSmallScene(dir, { cpus: 2 }, settings);
    try {
      expect((await scene.snapshot('--dry-run')).summary).toMatchObject({ error: null });
    } finally {
      await guest.stop();
    }
  });
});
