import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Config } from '../../src/config/config.js';
import { type FoundGuest, firstConfig } from '../../src/config/first-config.js';
import { loadConfig } from '../../src/config/load-config.js';
import { shownConfig, withoutSecrets } from '../../src/config/shown-config.js';
import { storePlaces } from '../../src/config/store-place.js';
import { makeTempDir, removeTempDir, roomInMemory } from '../support/temp-dir.js';

let dir: string;
beforeAll(async () => {
  // All that is above it there is anybody's to write.
  dir = await makeTempDir(await roomInMemory());
});
afterAll(() => removeTempDir(dir));

function guest(umid: string, more: Partial<FoundGuest> = {}): FoundGuest {
  const disk = { device: 'ubd0', path: `/srv/uml/${umid}.img`, backing: null };
  return {
    ...{ umid, mconsole: umid, kernel: `Linux ${umid} 6.1.0`, problem: null },
    disks: [{ ...disk, isConfirmed: true, storePath: '/srv/umlsnap' }],
    ...more,
  };
}

/** As a person would use it: written to a file, and read by the program. */
async function loaded(guests: FoundGuest[]): Promise<{ config: Config; text: string }> {
  const file = join(dir, 'config.yaml');
  const text = firstConfig(guests, '/usr/share/umlsnap/config.schema.json');
  await writeFile(file, text);
  return { config: await loadConfig(file), text };
}

describe('the first config', () => {
  test('has each guest that was found, with one store, and is in order', async () => {
    const { config, text } = await loaded([guest('debian'), guest('builder')]);
    expect(Object.keys(config.guests)).toEqual(['debian', 'builder']);
    expect(config.guests.debian).toMatchObject({
      mconsole: 'debian',
      store: 'local',
      schedule: '15 3 * * *',
    });
    expect(config.stores).toMatchObject({ local: { path: '/srv/umlsnap' } });
    expect(text.split('\n')[0]).toBe('# yaml-language-server: $schema=/usr/share/umlsnap/config.schema.json');
  });

  test('is in order where nothing runs, and shows what a guest looks like', async () => {
    const { config, text } = await loaded([]);
    expect(config).toMatchObject({ guests: {}, stores: {} });
    expect(text).toMatch(/^ {2}# debian:$/m);
  });

  test('leaves a guest out, with the reason, that does not answer, or whose word for its disks nobody confirms', async () => {
    const [disk] = guest('liar').disks;
    const liar = guest('liar', { disks: disk ? [{ ...disk, path: '/etc/shadow', isConfirmed: false }] : [] });
    const silent = guest('silent', { problem: 'Nothing answered\nwithin 3000 ms.', kernel: null, disks: [] });
    const { config, text } = await loaded([liar, silent, guest('debian')]);
    expect(Object.keys(config.guests)).toEqual(['debian']);
    expect(text).toMatch(/^ {2}# liar was left out: the host does not confirm/m);
    expect(text).toMatch(/^ {2}# silent was left out: Nothing answered within 3000 ms\.$/m);
  });

  test('has a store for each filesystem that disks lie on', async () => {
    const [disk] = guest('far').disks;
    const far = guest('far', { disks: disk ? [{ ...disk, storePath: '/mnt/umlsnap' }] : [] });
    const { config } = await loaded([guest('debian'), far]);
    expect(config.guests.far?.store).toBe('local-2');
    expect(config.stores['local-2']).toMatchObject({ path: '/mnt/umlsnap' });
  });

  test('survives names that a guest has chosen to break it', async () => {
    const umids = ['a: b # c', '- x', '"', 'latest', '123', 'true', 'x', 'x', '*a', "'", '{'];
    const paths = umids.map((_, index) => `/srv/uml/ "${index}" #.img`);
    const guests = umids.map((umid, index) => {
      const [disk] = guest(umid).disks;
      const disks = disk ? [{ ...disk, path: paths[index] ?? '' }] : [];
      return guest(umid, { mconsole: `/run/${index}/mconsole`, kernel: 'Linux # x', disks });
    });
    const { config } = await loaded(guests);
    expect(Object.values(config.guests).map(({ disks }) => disks[0]?.path)).toEqual(
      expect.arrayContaining(paths),
    );
    expect(Object.keys(config.guests)).toHaveLength(umids.length);
  });
});

test('a store is proposed on the filesystem of the disk, where others may not write, and nothing lies yet', async () => {
  const top = join(dir, 'open');
  const disk = join(top, 'uml/debian/root.img');
  await mkdir(join(top, 'uml/debian'), { recursive: true });
  await writeFile(disk, '');
  await chmod(top, 0o777);
  await chmod(dir, 0o777);
  const place = () => storePlaces([disk]).get(disk);
  expect(place()).toBe(join(top, 'uml/umlsnap'));
  await mkdir(join(top, 'uml/umlsnap'));
  expect(place()).toBe(join(top, 'uml/umlsnap'));
  await writeFile(join(top, 'uml/umlsnap/letter'), '');
  expect(place()).toBe(join(top, 'uml/umlsnap-2'));
  expect(storePlaces(['/nonexistent/root.img']).size).toBe(0);
});

test('a config is shown without the secrets in it, wherever they stand', () => {
  const config = {
    webhook: { token: 'abc', tokenFile: '/etc/t', url: 'https://user:pass@host/x' },
    stores: [{ repository: 'rest:https://joe:secret@backup/r', password: 'p', passwordCommand: 'pass x' }],
    nothing: { password: null },
  };
  expect(withoutSecrets(config)).toEqual({
    webhook: { token: '(not shown)', tokenFile: '/etc/t', url: 'https://(not shown)@host/x' },
    stores: [
      {
        ...{ repository: 'rest:https://(not shown)@backup/r', password: '(not shown)' },
        passwordCommand: 'pass x',
      },
    ],
    nothing: { password: null },
  });
  expect(shownConfig(config)).not.toMatch(/abc|pass@|secret@/);
});
