import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { SqliteHistory } from '../../src/history/sqlite-history.js';
import { sha256sum, withOpen } from '../image/make-image.js';
import { configIn, makeKeyCheap, restic } from '../store/restic/restic-places.js';
import { cliScript } from '../support/cli.js';
import { withGuest } from '../support/real-guest.js';
import { tryTool } from '../support/run-tool.js';
import { setScene } from '../support/scene.js';

/**
 * Does what docs/disaster.md says, with its own commands. A real guest on a COW pair is backed up into a directory, an archive and a
 * repository; then the guest, its disks and the state are gone.
 */

const pagePath = join(import.meta.dirname, '../../docs/disaster.md');

/** Whose commands need another machine, the network or a service manager, and why else they are not run. */
const notRun: Record<string, string> = {
  'An empty machine': 'installs packages of the host',
  'Moving a guest to another host': 'needs one',
  Upgrading: 'installs umlsnap on the host',
  'Removing umlsnap': 'removes it',
};

/** The commands of the page, by the heading that they stand under. */
const fences = new Map<string, string[]>();
const page = await readFile(pagePath, 'utf8');
for (const section of page.split(/^## /m).slice(1)) {
  const found = [...section.matchAll(/^( *)```sh\n(.*?)^ *```$/gms)].map(([, indent = '', code = '']) =>
    code.replaceAll(new RegExp(`^${indent}`, 'gm'), ''),
  );
  if (found.length > 0) fences.set(section.split('\n')[0] ?? '', found);
}
const fence = (heading: string, index = 0) =>
  fences.get(heading)?.[index] ?? expect.fail(`no command ${index} under ${heading}`);

const kinds = {
  directory: 'A directory store is left',
  archive: 'Archives are left',
  repository: 'A restic repository is left',
};

const scene = setScene({ guest: { cow: true, sizeMiB: 24 } });
let snapshot: string;
let passwordFile: string;
/** By their SHA-256, the files of the disk, and the time by which UML knows its backing file. */
let wanted: string[];
let backingSeconds: number;

beforeAll(async () => {
  const {
    name: _,
    staging: __,
    passwordCommand: ___,
    ...offsite
  } = await configIn(scene.dir, scene.path('vault'));
  passwordFile = offsite.passwordFile ?? '';
  await restic(await configIn(scene.dir, scene.path('vault')), 'init');
  await makeKeyCheap(scene.path('vault'));
  const local = { type: 'directory', path: scene.store };
  const archive = { type: 'tar', path: scene.path('archive') };
  const settings = scene.settings({ store: ['local', 'archive', 'offsite'], capture: 'copy' });
  await scene.configure({ debian: settings }, { stores: { local, archive, offsite } });
  await scene.guest.sh('echo "what was written" > /data/proof; sync');
  const { summary, stderr } = await scene.snapshot();
  snapshot = summary.snapshot ?? '';
  const carried = [snapshot];
  const filled = ['archive', 'offsite'].map((store) => ({ store, carried }));
  expect(summary, stderr).toMatchObject({ error: null, filled });
  const { disks, home } = scene.guest;
  const backing = disks[0]?.backing ?? '';
  backingSeconds = Math.floor((await stat(backing)).mtimeMs / 1000);
  wanted = [await sha256sum(join(scene.directoryOf(snapshot), 'ubd0.cow')), await sha256sum(backing)].sort();
  await scene.guest.kill();
  for (const path of [home, scene.state, scene.config]) await rm(path, { recursive: true });
});

/** Runs commands of the page on an empty machine of this name, its paths filled in. */
async function run(machine: string, commands: string) {
  const at = (name: string) => scene.path(machine, name);
  await mkdir(at('srv'), { recursive: true });
  const output = await tryTool('env', [
    ...[`HOME=${at('.')}`, `NODE=${process.execPath}`, `CLI=${cliScript}`, `CONFIG=${at('etc/config.yaml')}`],
    ...['bash', '-euo', 'pipefail', '-c'],
    `umlsnap() { "$NODE" "$CLI" -c "$CONFIG" "$@"; }\n${filledIn(machine, commands)}`,
  ]);
  return { ...output, disks: at('srv/debian') };
}

function filledIn(machine: string, commands: string): string {
  const at = (name: string) => scene.path(machine, name);
  const names: Record<string, string> = {
    'debian@20261121T031500Z': snapshot,
    HOST: hostname(),
    '/etc/umlsnap/offsite.password': passwordFile,
    '/etc/umlsnap': at('etc'),
    '/var/lib/umlsnap': at('state'),
    '/srv/uml/debian': at('srv/debian'),
    '/srv/umlsnap-history.db': at('srv/history.db'),
    '/srv/umlsnap': scene.store,
    '/mnt/archive/umlsnap': scene.path('archive'),
    '/mnt/vault/umlsnap': scene.path('vault'),
    '/mnt/bigger/umlsnap': at('srv/bigger'),
  };
  // The longest first, as they stand there.
  return Object.entries(names).reduce((text, [name, own]) => text.replaceAll(name, own), commands);
}

/** The COW file and its backing file, wherever they lie in the directory, are what they were. */
async function expectDisks(directory: string): Promise<void> {
  const names = await readdir(directory, { recursive: true });
  const images = names.filter((name) => /\.(?:cow|img)$/.test(name)).map((name) => join(directory, name));
  expect((await Promise.all(images.map(sha256sum))).sort()).toEqual(wanted);
  const backing = images.find((name) => name.endsWith('.img')) ?? '';
  expect(Math.floor((await stat(backing)).mtimeMs / 1000)).toBe(backingSeconds);
}

describe.each(Object.entries(kinds))('from a %s', (kind, heading) => {
  test('the disks come back with umlsnap, which knows nothing of the guest', async () => {
    const { exitCode, output, disks } = await run(kind, fence(heading, 0));
    expect(exitCode, output).toBe(0);
    expect(output).toContain(`boot it with ubd0=${disks}/ubd0.cow,${disks}/root.img`);
    await expectDisks(disks);
  });

  test('and without it, and are found to be good', async () => {
    const { exitCode, output, disks } = await run(`${kind}-plain`, fence(heading, 1));
    expect(exitCode, output).toBe(0);
    await expectDisks(disks);
    const { stdout } = await run(`${kind}-plain`, fence('What to check'));
    const said = stdout.toString().trim().split('\n');
    expect(said).toEqual(Array(2).fill(expect.stringMatching(/ is good$/)));
  });
});

test('a byte that is wrong is told', async () => {
  await withOpen(scene.path('directory-plain', 'srv/debian/ubd0.cow'), 'r+', (file) =>
    file.write(Buffer.of(1), 0, 1, 5000),
  );
  const { stdout } = await run('directory-plain', fence('What to check'));
  expect(stdout.toString()).toMatch(/ubd0\.cow is DAMAGED$/m);
});

test('the guest boots from what came back, and has its data', async () => {
  const words = filledIn('repository', fence('Boot it')).trim().split(/\s+/);
  expect(words[0]).toBe('linux.uml');
  const [, path = '', backing = ''] = /^ubd0=(.*),(.*)$/.exec(words.at(-1) ?? '') ?? [];
  const existingDisks = [{ device: 'ubd0', path, backing }];
  await withGuest({ dir: scene.dir, existingDisks, writer: 'none' }, async (guest) => {
    expect(await guest.sh('cat /data/proof')).toBe('what was written');
  });
});

test('how the guest was run is told, and the snapshots of the host that is gone are this one’s', async () => {
  const told = await run('directory', fence('Boot it', 1));
  expect(told.output).toMatch(/^cd .* ubd0=/m);
  const { exitCode, output } = await run('directory', fence('Back to backups'));
  expect(exitCode, output).toBe(0);
  expect(output).toContain(`${snapshot} in store local is ours now.`);
});

test('a store that was moved is known again by its marker, and a history that was copied is whole', async () => {
  const copied = await run('directory', `${fence('Moving a store', 0)}${fence("umlsnap's own state")}`);
  expect(copied.exitCode, copied.output).toBe(0);
  await rename(scene.store, `${scene.store}.old`);
  const config = scene.path('directory', 'etc', 'config.yaml');
  const moved = (await readFile(config, 'utf8')).replace(
    scene.store,
    scene.path('directory', 'srv', 'bigger'),
  );
  await writeFile(config, moved);
  const { exitCode, output } = await run('directory', fence('Moving a store', 1));
  expect({ exitCode, output }).toEqual({
    exitCode: 0,
    output: expect.stringContaining('as it was captured'),
  });
  const history = await SqliteHistory.open(scene.path('directory', 'srv', 'history.db'), { readOnly: true });
  expect(await history.snapshots({})).toMatchObject([{ snapshot, store: 'local' }]);
  history.close();
});

test('each command of the page is run here, or stands under a heading that says why it is not', () => {
  const run = [
    ...Object.values(kinds),
    'What to check',
    'Boot it',
    'Back to backups',
    'Moving a store',
    "umlsnap's own state",
  ];
  expect([...fences.keys()].sort()).toEqual([...run, ...Object.keys(notRun)].sort());
});
