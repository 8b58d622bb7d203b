import { copyFile, mkdir, readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { tryTool } from '../support/run-tool.js';
import { tempDirOfFile } from '../support/temp-dir-of-file.js';

const docs = join(resolve(import.meta.dirname, '../..'), 'docs');
const unit = join(docs, 'systemd/umlsnap.service');
const userUnit = join(docs, 'systemd/umlsnap-user.service');

/** The units name the manual, which on a host lies where manuals lie. */
const dir = tempDirOfFile();
beforeAll(async () => {
  await mkdir(join(dir, 'man/man1'), { recursive: true });
  await copyFile(join(docs, 'umlsnap.1'), join(dir, 'man/man1/umlsnap.1'));
});

function analyze(...args: string[]) {
  const env = [`MANPATH=${join(dir, 'man')}`, `XDG_RUNTIME_DIR=${dir}`];
  return tryTool('env', [...env, 'systemd-analyze', '--no-pager', ...args]);
}

test('systemd has nothing to say against the units', async () => {
  expect(await analyze('verify', unit)).toMatchObject({ exitCode: 0, output: '' });
  expect(await analyze('verify', '--user', userUnit)).toMatchObject({ exitCode: 0, output: '' });
});

test("the sandbox of root's daemon stays as tight as it is: an exposure of 5.0 of 10", async () => {
  const { exitCode, output } = await analyze('security', '--offline=true', '--threshold=50', unit);
  expect(output).toMatch(/Overall exposure level for umlsnap\.service: \d/);
  expect(exitCode, output.split('\n').slice(-3).join('\n')).toBe(0);
});

test.each([
  ["root's", unit],
  ["a user's", userUnit],
])('what keeps guests from staying paused stands in %s unit', async (_, file) => {
  const lines = (await readFile(file, 'utf8')).split('\n');
  const recover = 'ExecStopPost=/usr/bin/env umlsnap recover';
  const keeping = ['Type=notify', 'WatchdogSec=2min', 'KillMode=mixed', recover];
  expect(lines).toEqual(expect.arrayContaining(keeping));
});
