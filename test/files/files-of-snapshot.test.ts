import {
  chmod,
  chown,
  lstat,
  mkdir,
  readdir,
  readFile,
  readlink,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { filesPlaces, restoreFiles } from '../../jobs/restore-files.js';
import { copyDeps } from '../../src/compose.js';
import { loadConfig } from '../../src/config/load-config.js';
import { findCopy } from '../../src/copies/find-copy.js';
import { restoreSourceOf } from '../../src/copies/find-snapshot.js';
import { explainError } from '../../src/error-text.js';
import { UmlsnapError } from '../../src/errors.js';
import { findFile } from '../../src/files/find-file.js';
import { listFiles } from '../../src/files/list-files.js';
import { withExtImage } from '../../src/files/with-ext-image.js';
import { sha256sum, withOpen } from '../image/make-image.js';
import { neighbour, whileSwapped } from '../neighbours/swapper.js';
import { debugfs } from '../support/inspect-image.js';
import { runTool } from '../support/run-tool.js';
import { setScene } from '../support/scene.js';
import { storeImage } from '../support/stored-image.js';

const isRoot = process.getuid?.() === 0;
const at = new Date('2026-01-02T03:04:05Z');
const odd = 'sp ace "quoted" $(id) `id` <2> -R';
const notUtf8 = Buffer.from([0x6e, 0xff, 0xfe, 0x6f]);
const farLink = `/${'long/'.repeat(20)}`;
const large = Buffer.alloc(3_000_000, 'large ');

const scene = setScene({ on: 'xfs', guest: null });

/** What a guest's disk may hold, whoever made it. */
beforeAll(async () => {
  await scene.own();
  const tree = scene.path('tree');
  const image = scene.path('debian.img');
  await mkdir(join(tree, 'etc/deep/er'), { recursive: true });
  await mkdir(join(tree, 'usr/bin'), { recursive: true });
  await writeFile(join(tree, 'etc/passwd'), 'root:x:0:0\n', { mode: 0o640 });
  await writeFile(join(tree, 'etc', odd), 'odd\n');
  await writeFile(join(tree, 'etc', 'two\nlines'), 'two\n');
  await writeFile(Buffer.concat([Buffer.from(`${tree}/etc/`), notUtf8]), 'bytes\n');
  await writeFile(join(tree, 'etc/deep/er/large'), large);
  await writeFile(join(tree, 'usr/bin/tool'), 'tool\n');
  await symlink('usr/bin', join(tree, 'bin'));
  await symlink('/etc/shadow', join(tree, 'etc/out'));
  await symlink(farLink, join(tree, 'etc/far'));
  await runTool('mke2fs', ['-q', '-t', 'ext4', '-d', tree, image, '16M']);
  const owner = ['sif /etc/passwd uid 70000', 'sif /etc/passwd gid 12', 'sif /etc/passwd mode 0104755'];
  const devices = ['cd /etc', 'mknod pipe p', 'mknod disk b 8 0'];
  await debugfs(image, ...owner, ...devices, 'ln /usr/bin/tool /etc/tool2');
  await storeImage(scene.store, 'debian', image, at);
});

async function run(exitCode: number, ...args: string[]) {
  const result = await scene.run(...args);
  expect(result, result.stderr).toMatchObject({ exitCode });
  return result;
}

/** As the commands do it. */
async function filesOf(snapshot: string) {
  const config = await loadConfig(scene.config);
  const notAsked = new UmlsnapError('HistoryUnusable', { path: '', problem: 'not asked' });
  const deps = copyDeps(config, notAsked);
  const found = await findCopy(deps, { name: snapshot });
  const places = filesPlaces(found.store, config);
  const { signal } = new AbortController();
  const files = { device: 'ubd0', places, user: config.drill.user, signal };
  return { found, deps, source: restoreSourceOf(found, []), files };
}

async function namesIn(path: string, snapshot = 'debian@latest'): Promise<string[]> {
  const { source, files } = await filesOf(snapshot);
  return await withExtImage(source, files, async ({ image }) => {
    const listing = await listFiles(image, await findFile(image, path, { snapshot, device: files.device }));
    return listing.files.map(({ name }) => name).sort();
  });
}

const whyNoneIn = (...asked: Parameters<typeof namesIn>) =>
  namesIn(...asked).then(
    () => expect.fail('it worked'),
    (error: unknown) => explainError(error),
  );

let restores = 0;
async function restored(path: string, snapshot = 'debian@latest', given?: string) {
  restores += 1;
  const directory = given ?? scene.path(`out-${restores}`);
  const order = { ...(await filesOf(snapshot)), path, directory };
  const { status, warnings, error } = await scene.withHistory((history) => restoreFiles(order, history));
  return { directory, status, warnings: warnings.join('\n'), error: error?.message };
}

describe('the files of a snapshot', () => {
  test('are listed as ls does, whatever their names are', async () => {
    const { stdout } = await run(0, 'files', 'debian@latest');
    expect(stdout).toMatch(/^drwxr-xr-x +0:0 +\d+ .* etc\s*$/m);
    expect(stdout).toMatch(/^lrwxrwxrwx .* bin -> usr\/bin\s*$/m);
    const { json } = await run(0, '--json', 'files', 'debian@latest', '/etc');
    const names = json.map(({ name }) => name);
    expect(names).toEqual(expect.arrayContaining([odd, 'passwd', 'deep', 'out', 'far', 'pipe', 'disk']));
    expect(json.find(({ name }) => name === 'passwd')).toMatchObject({
      ...{ type: 'file', mode: '4755', uid: 70_000, gid: 12, sizeBytes: 11 },
    });
    expect(json.find(({ name }) => name === 'far')).toMatchObject({ linkTo: farLink });
    const base64 = json.map(({ nameBase64 }) => nameBase64);
    expect(base64).toContain(notUtf8.toString('base64'));
    expect(base64).toContain(Buffer.from('two\nlines').toString('base64'));
  });

  test('are found through links of the image, and what is not there is told', async () => {
    expect(await namesIn('bin/tool')).toEqual(['tool']);
    expect(await whyNoneIn('/etc/nothing')).toContain('there is no nothing in etc');
    expect(await whyNoneIn('/etc/passwd/x')).toContain('passwd is a file');
    expect(await whyNoneIn('/etc/out/x')).toContain('there is no shadow in etc');
    const { stderr } = await run(10, 'files', 'debian@latest', '--disk', 'ubd7');
    expect(stderr).toContain('has ubd0');
  });

  test('come back as a single file with its owner and mode, but no right of another user', async () => {
    const dir = scene.path('out');
    const order = ['restore', 'debian@latest', '--path', '/etc/passwd', '--to', dir];
    const { stderr } = await run(3, ...order);
    expect(stderr).toContain('1 file has lost setuid or setgid');
    const file = join(dir, 'passwd');
    expect(await readFile(file, 'utf8')).toBe('root:x:0:0\n');
    const { mode, uid, gid } = await stat(file);
    expect(mode & 0o7777).toBe(0o755);
    if (isRoot) expect({ uid, gid }).toEqual({ uid: 70_000, gid: 12 });
    expect((await run(1, ...order)).stderr).toContain('exists already');
  });

  test('come back into a directory of another user, who can have nothing of root’s removed by the name of a leftover', async (context) => {
    if (!isRoot) return context.skip('needs root');
    const [his, left] = [scene.path('his'), '.umlsnap-files-4194303-1-0badcafe'];
    await mkdir(join(his, left), { recursive: true });
    await writeFile(join(his, left, 'precious'), '');
    await chown(his, 65_534, 65_534);
    await run(0, 'restore', 'debian@latest', '--path', '/usr/bin/tool', '--to', his);
    expect((await readdir(his)).sort()).toEqual([left, 'tool']);
    expect(await readdir(join(his, left))).toEqual(['precious']);
  });

  test('come back as the whole disk, by its name: links as links, and what the host should not have is left out', async () => {
    const { directory, status, warnings } = await restored('/');
    expect(status).toBe('warning');
    expect(warnings).toMatch(/left out: .*1 devices/);
    expect(warnings).toMatch(/left out: .*1 FIFOs and sockets/);
    expect(await readdir(directory)).toEqual(['ubd0']);
    const disk = join(directory, 'ubd0');
    expect((await readdir(disk)).sort()).toEqual(['bin', 'etc', 'lost+found', 'usr']);
    const etc = join(disk, 'etc');
    expect(await readlink(join(etc, 'out'))).toBe('/etc/shadow');
    expect(await readlink(join(etc, 'far'))).toBe(farLink);
    expect(await readFile(join(etc, odd), 'utf8')).toBe('odd\n');
    expect(await readFile(join(etc, 'two\nlines'), 'utf8')).toBe('two\n');
    expect(await readFile(Buffer.concat([Buffer.from(`${etc}/`), notUtf8]), 'utf8')).toBe('bytes\n');
    expect((await readFile(join(etc, 'deep/er/large'))).equals(large)).toBe(true);
    expect((await stat(join(etc, 'tool2'))).ino).toBe((await stat(join(disk, 'usr/bin/tool'))).ino);
    expect(await readdir(etc)).not.toContain('pipe');
  });

  test('come back as a whole tree, from a snapshot that is never touched, and not from one that has changed', async () => {
    const file = join(scene.store, 'debian', '20260102T030405Z', 'ubd0.img');
    const before = [(await stat(file)).mtimeMs, await sha256sum(file)];
    const { directory, status } = await restored('/usr');
    expect(status).toBe('success');
    expect(await readdir(directory)).toEqual(['usr']);
    expect([(await stat(file)).mtimeMs, await sha256sum(file)]).toEqual(before);

    await storeImage(scene.store, 'changed', scene.path('debian.img'), at);
    const changed = join(scene.store, 'changed', '20260102T030405Z', 'ubd0.img');
    await withOpen(changed, 'r+', (image) => image.write('x', 9_000_000));
    const { error } = await restored('/usr', 'changed@latest');
    expect(error).toContain('ubd0.img does not match its checksum');
  });
});

describe('an image that its guest has made to harm whoever reads it', () => {
  test('can not name a file outside of the directory, nor fill the disk, nor lead round in a circle', async () => {
    const image = scene.path('evil.img');
    const tree = scene.path('evil-tree');
    await mkdir(join(tree, 'loop/inner'), { recursive: true });
    for (const name of ['AAAAAA', 'BBB', 'huge']) await writeFile(join(tree, name), 'escaped\n');
    await runTool('mke2fs', ['-q', '-t', 'ext4', '-O', '^metadata_csum', '-d', tree, image, '8M']);
    await debugfs(image, 'ln /loop /loop/inner/again', 'sif /huge size 0x7fffffffffff');
    // As no kernel writes them: names of a directory that lead elsewhere.
    const bytes = await readFile(image);
    bytes.write('../esc', bytes.indexOf('AAAAAA'), 'latin1');
    bytes.write('/ab', bytes.indexOf('BBB'), 'latin1');
    await writeFile(image, bytes);
    await storeImage(scene.store, 'evil', image, at);

    expect(await namesIn('/', 'evil@latest')).toEqual(['huge', 'loop', 'lost+found']);
    const loop = await restored('/loop', 'evil@latest');
    expect(loop.status).toBe('warning');
    expect(loop.warnings).toContain('1 directories that hold themselves');
    expect(await readdir(join(loop.directory, 'loop/inner'))).toEqual([]);
    const huge = await restored('/', 'evil@latest');
    expect(huge.error).toMatch(/it takes \d+ MiB .* and there are \d+ MiB free/);
    expect(await readdir(huge.directory)).toEqual([]);
  });

  test('is told apart from a disk without a filesystem that files can be taken out of', async () => {
    const empty = scene.path('empty.img');
    await runTool('truncate', ['-s', '1M', empty]);
    await storeImage(scene.store, 'empty', empty, at);
    expect(await whyNoneIn('/', 'empty@latest')).toContain('(empty)');
    const xfs = scene.path('xfs.img');
    await runTool('truncate', ['-s', '320M', xfs]);
    await runTool('mkfs.xfs', ['-q', xfs]);
    // Its first superblock is enough.
    await runTool('truncate', ['-s', '16M', xfs]);
    await storeImage(scene.store, 'xfs', xfs, at);
    expect(await whyNoneIn('/', 'xfs@latest')).toContain('of type xfs');
  });

  test('leaves nothing in the places that were used for it', async () => {
    const hidden = (await readdir(scene.store)).filter((name) => /^\..*scratch/.test(name));
    for (const name of hidden) expect(await readdir(join(scene.store, name))).toEqual([]);
    expect(await readdir(join(scene.state, 'scratch')).catch(() => [])).toEqual([]);
  });
});

test.runIf(isRoot)(
  "restored into another user's directory are staged where he leads nobody, whatever he swaps",
  async () => {
    const [own, victim] = [scene.path('own'), scene.path('victim')];
    for (const above of [dirname(own), dirname(dirname(own))]) await chmod(above, 0o711);
    await mkdir(victim, { mode: 0o700 });
    for (const path of [own, join(own, 'to')]) {
      await mkdir(path);
      await chown(path, neighbour, neighbour);
    }
    // In one directory, where he needs no right to what he renames.
    const link = join(own, 'to/link');
    let swaps = 0;
    await whileSwapped(join(own, 'to/.umlsnap-files-*'), link, async () => {
      for (const untilMs = performance.now() + 10_000; performance.now() < untilMs || swaps === 0; ) {
        // Also what was moved away from us; one kind of file can become another at any moment.
        for (let name = 'link'; name !== ''; name = (await readdir(join(own, 'to')))[0] ?? '')
          await rm(join(own, 'to', name), { recursive: true, force: true }).catch(ifSwapped);
        await symlink(victim, link);
        const { status } = await restored('/etc/deep', 'debian@latest', join(own, 'to'));
        if ((await lstat(link)).isDirectory()) swaps += 1;
        if (status !== 'success') continue;
        expect(large.equals(await readFile(join(own, 'to/deep/er/large')))).toBe(true);
      }
    });
    expect(await readdir(victim)).toEqual([]);
  },
);

function ifSwapped(error: NodeJS.ErrnoException): void {
  if (!['EISDIR', 'ENOTDIR', 'ENOENT'].includes(error.code ?? '')) throw error;
}
