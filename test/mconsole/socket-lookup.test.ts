import { randomBytes } from 'node:crypto';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { createSocket } from 'unix-dgram';
import { expect, test } from 'vitest';
import { UmlsnapError } from '../../src/errors.js';
import { findMconsoleSocket } from '../../src/mconsole/socket-lookup.js';
import { withTempDir } from '../support/temp-dir.js';

async function makeSocket(path: string): Promise<string> {
  await mkdir(dirname(path), { recursive: true });
  const socket = createSocket('unix_dgram');
  socket.on('error', (error) => {
    throw error;
  });
  socket.bind(path);
  // The file stays when the socket is closed.
  socket.close();
  return path;
}

test.each(['.uml/NAME/mconsole', '.netkit/mconsole/NAME/mconsole'])('a umid is found at ~/%s', (place) =>
  withTempDir(async (home) => {
    const path = await makeSocket(join(home, place.replace('NAME', 'debian')));
    expect(await findMconsoleSocket('debian', undefined, { HOME: home })).toBe(path);
  }),
);

test('a umid is found in /tmp/uml, where guests without a home have their sockets', () =>
  withTempDir(async (home) => {
    const umid = `t${randomBytes(6).toString('hex')}`;
    const path = await makeSocket(`/tmp/uml/${umid}/mconsole`);
    try {
      expect(await findMconsoleSocket(umid, undefined, { HOME: home })).toBe(path);
    } finally {
      await rm(dirname(path), { recursive: true });
    }
  }));

test('a file left where a socket should be does not hide the socket in the next place', () =>
  withTempDir(async (home) => {
    await mkdir(join(home, '.uml/debian'), { recursive: true });
    await writeFile(join(home, '.uml/debian/mconsole'), '');
    const path = await makeSocket(join(home, '.netkit/mconsole/debian/mconsole'));
    expect(await findMconsoleSocket('debian', undefined, { HOME: home })).toBe(path);
  }));

test('a umid that is nowhere is reported with every place that was looked at', () =>
  withTempDir(async (home) => {
    const tried = [`${home}/.uml`, '/tmp/uml', `${home}/.netkit/mconsole`].map(
      (dir) => `${dir}/nosuch/mconsole`,
    );
    const error = new UmlsnapError('NoMconsoleSocket', { guest: 'nosuch', tried });
    await expect(findMconsoleSocket('nosuch', undefined, { HOME: home })).rejects.toEqual(error);
  }));

test('where the guest itself says its socket is counts last, and only for what is called as the socket of its umid', () =>
  withTempDir(async (home) => {
    const env = { HOME: join(home, 'ours') };
    const told = await makeSocket(join(home, 'theirs/.uml/debian/mconsole'));
    const stranger = await makeSocket(join(home, 'dev/log'));
    expect(await findMconsoleSocket('debian', told, env)).toBe(told);
    await expect(findMconsoleSocket('debian', stranger, env)).rejects.toMatchObject({
      code: 'NoMconsoleSocket',
    });
    await expect(findMconsoleSocket('other', told, env)).rejects.toMatchObject({ code: 'NoMconsoleSocket' });
    const ours = await makeSocket(join(env.HOME, '.uml/debian/mconsole'));
    expect(await findMconsoleSocket('debian', told, env)).toBe(ours);
  }));

test('anything with a slash is a path, and is not looked up', async () => {
  expect(await findMconsoleSocket('/run/uml/sock')).toBe('/run/uml/sock');
  expect(await findMconsoleSocket('./sock')).toBe(join(process.cwd(), 'sock'));
});

test.each(['', '.', '..', '-c', 'a b', 'a\nb', 'x'.repeat(64)])('%j is no umid', async (name) => {
  await expect(findMconsoleSocket(name, undefined, { HOME: '/nowhere' })).rejects.toMatchObject({
    code: 'Usage',
  });
});
