import { existsSync, lstatSync, readFileSync, statSync } from 'node:fs';
import { chown, mkdir, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { readAgentScript } from '../../src/guest/agent/agent-script.js';
import { installAgent } from '../../src/guest/agent/install-agent.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';

let dir: string;
let root: string;
beforeEach(async () => {
  dir = await makeTempDir();
  root = join(dir, 'root');
  await mkdir(join(root, 'etc'), { recursive: true });
  await mkdir(join(root, 'usr/bin'), { recursive: true });
});
afterEach(() => removeTempDir(dir));

const agent = '/usr/sbin/umlsnap-agent';
const refused = { code: 'InstallRefused' };
const modeOf = (path: string) => statSync(join(root, path)).mode & 0o777;

test('the agent is put where a guest runs it, executable, once, and again without a change', async () => {
  expect((await installAgent(root)).written).toEqual([agent]);
  expect(readFileSync(join(root, agent), 'utf8')).toBe(await readAgentScript());
  expect(modeOf(agent)).toBe(0o755);
  expect(existsSync(join(root, 'etc/umlsnap/freeze.d'))).toBe(true);
  const again = await installAgent(root);
  expect(again.written).toEqual([]);
  expect(again.enable.map(({ init }) => init)).toEqual(['systemd', 'openrc', 'sysv', 'busybox']);
});

const unit = '/etc/systemd/system/umlsnap-agent.service';
const script = '/etc/init.d/umlsnap-agent';
test.each<[string[], Record<string, string>, string[]]>([
  [['systemd'], { 'usr/lib/systemd/systemd': '' }, [unit]],
  [['openrc', 'busybox'], { 'sbin/openrc-run': '', 'etc/inittab': '::sysinit:/sbin/openrc\n' }, [script]],
  [['sysv'], { 'etc/inittab': 'id:2:initdefault:\n1:2345:respawn:/sbin/getty\n' }, []],
])('an init is known by what it brings, and gets its file: %s', async (inits, files, written) => {
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), text);
  }
  const installed = await installAgent(root);
  expect(installed.enable.map(({ init }) => init)).toEqual(inits);
  expect(installed.written).toEqual([agent, ...written]);
  if (written.includes(script)) expect(modeOf(script)).toBe(0o755);
});

test('a merged root, whose sbin is a link to another of its directories, is followed within', async () => {
  await symlink('bin', join(root, 'usr/sbin'));
  await installAgent(root);
  expect(existsSync(join(root, 'usr/bin/umlsnap-agent'))).toBe(true);
});

test.each([
  ['absolute, to a directory of the host', '/tmp'],
  ['that climbs out', '../../outside'],
  ['to itself', 'sbin'],
])('a link %s is refused, and nothing is written through it', async (_, target) => {
  await mkdir(join(dir, 'outside'));
  await symlink(target, join(root, 'usr/sbin'));
  await expect(installAgent(root)).rejects.toMatchObject(refused);
  expect(existsSync(join(dir, 'outside/umlsnap-agent'))).toBe(false);
  expect(existsSync('/tmp/umlsnap-agent')).toBe(false);
});

test('a link whose way leads through a directory of another user is refused: he could lead it elsewhere', async (context) => {
  if (process.getuid?.() !== 0) return context.skip('needs root');
  await mkdir(join(root, 'usr/his/bin'), { recursive: true });
  await chown(join(root, 'usr/his'), 65_534, 65_534);
  await symlink('his/bin', join(root, 'usr/sbin'));
  await expect(installAgent(root)).rejects.toMatchObject(refused);
  expect(existsSync(join(root, 'usr/his/bin/umlsnap-agent'))).toBe(false);
});

test('a link in the place of the agent is replaced, and what it leads to is left alone', async () => {
  const precious = join(dir, 'precious');
  await writeFile(precious, 'precious');
  await mkdir(join(root, 'usr/sbin'));
  await symlink(precious, join(root, agent));
  await installAgent(root);
  expect(readFileSync(precious, 'utf8')).toBe('precious');
  expect(lstatSync(join(root, agent)).isFile()).toBe(true);
});

test('what is no root is refused before anything is written', async () => {
  await expect(installAgent(join(root, 'usr'))).rejects.toMatchObject(refused);
  expect(existsSync(join(root, 'usr/usr'))).toBe(false);
  await expect(installAgent(join(dir, 'nowhere'))).rejects.toMatchObject(refused);
});
