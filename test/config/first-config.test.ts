import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { Config } from '../../src/config/config.js';
import { type FoundGuest, firstConfig } from '../../src/config/first-config.js';
import { withoutSecrets } from '../../src/config/shown-config.js';
import { storePlaces } from '../../src/config/store-place.js';
import { makeTempDir, removeTempDir, roomInMemory } from '../support/temp-dir.js';
import { loaded } from './write-config.js';

function guest(umid: string, ofDisk: object = {}, more: Partial<FoundGuest> = {}): FoundGuest {
  const disk = { device: 'ubd0', path: `/srv/uml/${umid}.img`, backing: null };
  return {
    ...{ umid, mconsole: umid, kernel: `Linux ${umid} 6.1.0`, problem: null, notify: null },
    disks: [{ ...disk, isConfirmed: true, storePath: '/srv/umlsnap', ...ofDisk }],
    ...more,
  };
}

/** As a person would use it: written to a file, and read by the program. */
async function firstOf(...guests: FoundGuest[]): Promise<Config & { text: string }> {
  const text = firstConfig(guests, '/usr/share/umlsnap/config.schema.json');
  return { ...(await loaded(text)), text };
}

describe('the first config', () => {
  test('has each guest that was found, with a store for each filesystem that disks lie on, and is in order', async () => {
    const far = guest('far', { storePath: '/mnt/umlsnap' });
    const { guests, stores, text } = await firstOf(guest('debian'), guest('builder'), far);
    expect(Object.keys(guests)).toEqual(['debian', 'builder', 'far']);
    expect(guests.debian).toMatchObject({ mconsole: 'debian', store: 'local', schedule: '15 3 * * *' });
    expect(guests.far?.store).toBe('local-2');
    expect(stores).toMatchObject({ local: { path: '/srv/umlsnap' }, 'local-2': { path: '/mnt/umlsnap' } });
    expect(text.split('\n')[0]).toBe('# yaml-language-server: $schema=/usr/share/umlsnap/config.schema.json');
  });

  test('has the socket that a guest notifies by its command line, if that is one that a config may have', async () => {
    const notifying = (umid: string, notify: string) => guest(umid, {}, { notify });
    const { guests, text } = await firstOf(
      notifying('debian', '/run/u m/x'),
      notifying('builder', '/run/uml/builder.sock'),
      notifying('liar', '/x\n  evil: {}'),
      notifying('near', 'relative.sock'),
    );
    expect(guests.builder?.notify).toBe('/run/uml/builder.sock');
    expect(text.match(/notify:/g)).toHaveLength(1);
  });

  test('is in order where nothing runs, and shows what a guest looks like', async () => {
    const { guests, stores, text } = await firstOf();
    expect({ guests, stores }).toMatchObject({ guests: {}, stores: {} });
    expect(text).toMatch(/^ {2}# debian:$/m);
  });

  test('leaves a guest out, with the reason, that does not answer, or whose word for its disks nobody confirms', async () => {
    const liar = guest('liar', { path: '/etc/shadow', isConfirmed: false });
    const problem = 'Nothing answered\nwithin 3000 ms.';
    const silent = guest('silent', {}, { problem, kernel: null, disks: [] });
    const { guests, text } = await firstOf(liar, silent, guest('debian'));
    expect(Object.keys(guests)).toEqual(['debian']);
    expect(text).toMatch(/^ {2}# liar was left out: the host does not confirm/m);
    expect(text).toMatch(/^ {2}# silent was left out: Nothing answered within 3000 ms\.$/m);
  });

  test('survives names that a guest has chosen to break it', async () => {
    const umids = ['a: b # c', '- x', '"', 'latest', '123', 'true', 'x', 'x', '*a', "'", '{'];
    const paths = umids.map((_, index) => `/srv/uml/ "${index}" #.img`);
    const hostile = umids.map((umid, index) =>
      guest(umid, { path: paths[index] }, { mconsole: `/run/${index}/mconsole`, kernel: 'Linux # x' }),
    );
    const guests = Object.values((await firstOf(...hostile)).guests);
    expect(guests).toHaveLength(umids.length);
    expect(guests.map(({ disks }) => disks[0]?.path)).toEqual(expect.arrayContaining(paths));
  });
});

test('a store is proposed on the filesystem of the disk, where others may not write, and nothing lies yet', async () => {
  // All that is above it there is anybody's to write.
  const dir = await makeTempDir(await roomInMemory());
  onTestFinished(() => removeTempDir(dir));
  const top = join(dir, 'open');
  const disk = join(top, 'uml/debian/root.img');
  await mkdir(join(top, 'uml/debian'), { recursive: true });
  await writeFile(disk, '');
  for (const path of [top, dir]) await chmod(path, 0o777);
  const place = () => storePlaces([disk]).get(disk);
  expect(place()).toBe(join(top, 'uml/umlsnap'));
  await mkdir(join(top, 'uml/umlsnap'));
  expect(place()).toBe(join(top, 'uml/umlsnap'));
  await writeFile(join(top, 'uml/umlsnap/letter'), '');
  expect(place()).toBe(join(top, 'uml/umlsnap-2'));
  expect(storePlaces(['/nonexistent/root.img']).size).toBe(0);
});

test('a config is shown without the secrets in it, wherever they stand', () => {
  const hidden = '(not shown)';
  const configOf = (token: string, url: string, repository: string, password: string) => ({
    webhook: { token, tokenFile: '/etc/t', url },
    stores: [{ repository, password, passwordCommand: 'pass x' }],
    nothing: { password: null, readWithoutToken: true },
  });
  const config = configOf('abc', 'https://user:pass@host/x', 'rest:https://joe:secret@backup/r', 'p');
  expect(withoutSecrets(config)).toEqual(
    configOf(hidden, `https://${hidden}@host/x`, `rest:https://${hidden}@backup/r`, hidden),
  );
});
