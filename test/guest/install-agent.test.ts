import { existsSync, lstatSync, readFileSync, statSync } from 'node:fs';
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readAgentScript } from '../../src/guest/agent/agent-script.js';
import { installAgent } from '../../src/guest/agent/install-agent.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';

let dir: string;
beforeAll(async () => {
  dir = await makeTempDir();
});
afterAll(() => removeTempDir(dir));

async function rootWith(name: string, files: Record<string, string> = {}): Promise<string> {
  const root = join(dir, name);
  await mkdir(join(root, 'etc'), { recursive: true });
  for (const [path, text] of Object.entries(files)) {
    await mkdir(join(root, path, '..'), { recursive: true });
    await writeFile(join(root, path), text);
  }
  return root;
}

const initsOf = ({ enable }: { enable: { init: string }[] }) => enable.map(({ init }) => init);

test('the agent is put where a guest runs it, executable, once, and again without a change', async () => {
  const root = await rootWith('plain');
  expect((await installAgent(root)).written).toEqual(['/usr/sbin/umlsnap-agent']);
  const path = join(root, 'usr/sbin/umlsnap-agent');
  expect(readFileSync(path, 'utf8')).toBe(await readAgentScript());
  expect(statSync(path).mode & 0o777).toBe(0o755);
  expect(existsSync(join(root, 'etc/umlsnap/freeze.d'))).toBe(true);
  const again = await installAgent(root);
  expect(again.written).toEqual([]);
  expect(initsOf(again)).toEqual(['systemd', 'openrc', 'sysv', 'busybox']);
});

test('each init is known by what it brings, and gets its file', async () => {
  const debian = await rootWith('debian', { 'usr/lib/systemd/systemd': '' });
  const unit = '/etc/systemd/system/umlsnap-agent.service';
  expect(await installAgent(debian)).toMatchObject({ written: ['/usr/sbin/umlsnap-agent', unit] });
  const alpine = await rootWith('alpine', {
    'sbin/openrc-run': '',
    'etc/inittab': '::sysinit:/sbin/openrc sysinit\n',
  });
  const installed = await installAgent(alpine);
  expect(initsOf(installed)).toEqual(['openrc', 'busybox']);
  expect(statSync(join(alpine, 'etc/init.d/umlsnap-agent')).mode & 0o777).toBe(0o755);
  const old = await rootWith('old', { 'etc/inittab': 'id:2:initdefault:\n1:2345:respawn:/sbin/getty\n' });
  expect(initsOf(await installAgent(old))).toEqual(['sysv']);
});

test('a merged root, whose sbin is a link to another of its directories, is followed within', async () => {
  const root = await rootWith('merged');
  await mkdir(join(root, 'usr/bin'), { recursive: true });
  await symlink('bin', join(root, 'usr/sbin'));
  await installAgent(root);
  expect(existsSync(join(root, 'usr/bin/umlsnap-agent'))).toBe(true);
});

test.each([
  ['absolute, to a directory of the host', '/tmp'],
  ['that climbs out', '../../outside'],
  ['to itself', 'sbin'],
])('a link %s is refused, and nothing is written through it', async (what, target) => {
  const root = await rootWith(what.replaceAll(/\W/g, '-'));
  const outside = join(dir, 'outside');
  await mkdir(outside, { recursive: true });
  await mkdir(join(root, 'usr'));
  await symlink(target, join(root, 'usr/sbin'));
  await expect(installAgent(root)).rejects.toMatchObject({ code: 'InstallRefused' });
  expect(existsSync(join(outside, 'umlsnap-agent'))).toBe(false);
  expect(existsSync('/tmp/umlsnap-agent')).toBe(false);
});

test('a link in the place of the agent is replaced, and what it leads to is left alone', async () => {
  const root = await rootWith('link');
  const precious = join(dir, 'precious');
  await writeFile(precious, 'precious');
  await mkdir(join(root, 'usr/sbin'), { recursive: true });
  await symlink(precious, join(root, 'usr/sbin/umlsnap-agent'));
  await installAgent(root);
  expect(readFileSync(precious, 'utf8')).toBe('precious');
  expect(lstatSync(join(root, 'usr/sbin/umlsnap-agent')).isFile()).toBe(true);
});

test('what is no root is refused before anything is written', async () => {
  const root = join(dir, 'empty');
  await mkdir(root);
  await expect(installAgent(root)).rejects.toMatchObject({ code: 'InstallRefused' });
  expect(existsSync(join(root, 'usr'))).toBe(false);
  await expect(installAgent(join(dir, 'nowhere'))).rejects.toMatchObject({ code: 'InstallRefused' });
});
