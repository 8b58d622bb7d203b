import { randomBytes } from 'node:crypto';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { createSocket } from 'unix-dgram';
import { expect, test } from 'vitest';
import { UmlsnapError } from '../../src/errors.js';
import { findMconsoleSocket } from '../../src/mconsole/socket-lookup.js';
import { tempDirOfFile } from '../support/temp-dir-of-file.js';

const home = tempDirOfFile();

async function makeSocket(path: string): Promise<string> {
  await mkdir(dirname(path), { recursive: true });
  const socket = createSocket('unix_dgram');
  socket.bind(path);
  // The file stays when the socket is closed.
  socket.close();
  return path;
}

const find = (umid: string, first: string[] = [], ownerUid?: number) =>
  findMconsoleSocket(umid, { first, env: { HOME: home }, ...(ownerUid !== undefined && { ownerUid }) });

test('a umid is found in /tmp/uml, where guests without a home have their sockets', async () => {
  const umid = `t${randomBytes(6).toString('hex')}`;
  const path = await makeSocket(`/tmp/uml/${umid}/mconsole`);
  try {
    expect(await find(umid)).toBe(path);
  } finally {
    await rm(dirname(path), { recursive: true });
  }
});

test('one is found at ~/.netkit/mconsole/NAME, though there is a file where its socket should be before', async () => {
  await mkdir(join(home, '.uml/two'), { recursive: true });
  await writeFile(join(home, '.uml/two/mconsole'), '');
  const path = await makeSocket(join(home, '.netkit/mconsole/two/mconsole'));
  expect(await find('two')).toBe(path);
});

test('a umid that is nowhere is reported with every place that was looked at', async () => {
  const directories = [`${home}/.uml`, '/tmp/uml', `${home}/.netkit/mconsole`];
  const tried = directories.map((directory) => `${directory}/nosuch/mconsole`);
  const error = new UmlsnapError('NoMconsoleSocket', { guest: 'nosuch', tried });
  await expect(find('nosuch')).rejects.toEqual(error);
});

test("a umid's socket is not looked for where somebody else has put one (squatted /tmp/uml/UMID)", async () => {
  const squatted = await makeSocket(join(home, '.uml/five/mconsole'));
  const [stranger, owner] = [65_534, process.geteuid?.() ?? 0];
  await expect(find('five', [squatted], stranger)).rejects.toMatchObject({ code: 'NoMconsoleSocket' });
  expect(await find('five', [], owner)).toBe(squatted);
});

test('a umid is found where the guest itself has its socket first, and only at what is called as the socket of its umid', async () => {
  const told = await makeSocket(join(home, 'theirs/.uml/three/mconsole'));
  const stranger = await makeSocket(join(home, 'dev/log'));
  const ours = await makeSocket(join(home, '.uml/three/mconsole'));
  expect(await find('three', [told])).toBe(told);
  expect(await find('three', [stranger])).toBe(ours);
  await expect(find('other', [told])).rejects.toMatchObject({ code: 'NoMconsoleSocket' });
});

test('anything with a slash is a path, and is not looked up', async () => {
  expect(await findMconsoleSocket('/run/uml/sock')).toBe('/run/uml/sock');
  expect(await findMconsoleSocket('./sock')).toBe(join(process.cwd(), 'sock'));
});

test.each(['', '.', '..', '-c', 'a b', 'a\nb', 'x'.repeat(64)])('%j is no umid', async (name) => {
  await expect(find(name)).rejects.toMatchObject({ code: 'Usage' });
});
