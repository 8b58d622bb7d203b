import { randomBytes } from 'node:crypto';
import {
  chown,
  copyFile,
  mkdir,
  readdir,
  rename,
  rm,
  stat,
  statfs,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { basename, join } from 'node:path';
import { afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { verify } from '../../../jobs/verify.js';
import type { Config } from '../../../src/config/config.js';
import type { ResticStoreConfig } from '../../../src/config/store-config.js';
import { resolveVerify } from '../../../src/config/verify-fields.js';
import { UmlsnapError } from '../../../src/errors.js';
import { isAlive, readProcessStat } from '../../../src/process-identity.js';
import { DirectoryStore } from '../../../src/store/directory-store.js';
import type { ResticStore } from '../../../src/store/restic/restic-store.js';
import { sha256sum, withOpen } from '../../image/make-image.js';
import { pids, readOrNothing } from '../../support/guest-processes.js';
import { whyNoLoopMount, withLoopFilesystem } from '../../support/loop-filesystem.js';
import { runTool } from '../../support/run-tool.js';
import { startScript } from '../../support/script-child.js';
import { makeTempDir } from '../../support/temp-dir.js';
import { tempDirOfFile } from '../../support/temp-dir-of-file.js';
import { waitFor } from '../../support/wait-for.js';
import { flipByte, ours, pinIn, trashIn } from '../capture-of-tests.js';
import { contentIn, sealSparse, soundIn } from '../sparse-snapshots.js';
import { restoreFailure, verdictOf } from '../tar/archive-scene.js';
import {
  configIn,
  makeKeyCheap,
  password,
  pathWithRestic,
  restic,
  startServer,
  storeOf,
} from './restic-places.js';

/**
 * restic's own repositories, broken in the ways that they break. `first` and `second` differ in a little of 24 MiB of data; a
 * repository that holds `first` is made once, and each test works on a copy of it: restic takes a second to begin.
 */
const first = 'debian@20261121T031500Z';
const second = 'debian@20261122T031500Z';
const dataBytes = 24 * 1024 * 1024;

const dir = tempDirOfFile();
const templateOf = (holds: 'first' | 'nothing') => join(dir, `template-of-${holds}`);
let source: DirectoryStore;
let id: string;
let config: ResticStoreConfig;
let store: ResticStore;

beforeAll(async () => {
  source = new DirectoryStore({ name: 'source', path: join(dir, 'source') });
  await source.prepare(null);
  const image = { sizeBytes: 64 * 1024 * 1024, pieces: [{ offset: 1_048_576, length: dataBytes }] };
  const { directory } = await sealSparse(source, first, { ubd0: image });
  // The same disk a day later: 64 KiB of it are different.
  const changed = join(dir, 'changed.img');
  await runTool('cp', ['--sparse=always', join(directory, 'ubd0.img'), changed]);
  await withOpen(changed, 'r+', (file) => file.write(Buffer.alloc(65_536, 7), 0, 65_536, 12_000_000));
  await sealSparse(source, second, { ubd0: { from: changed } });
  const made = storeOf(await configIn(dir, templateOf('first')));
  id = (await made.prepare(null)).id;
  await makeKeyCheap(templateOf('first'));
  await runTool('cp', ['-a', templateOf('first'), templateOf('nothing')]);
  await made.receive(await contentIn(source, first), {});
});

/** Goes on with a copy of such a repository, which nobody has used yet. */
async function useFresh(holds: 'first' | 'nothing'): Promise<void> {
  const place = await makeTempDir(dir);
  await runTool('cp', ['-a', templateOf(holds), join(place, 'repository')]);
  config = await configIn(place, join(place, 'repository'));
  store = storeOf(config);
}
beforeEach(() => useFresh('first'));
afterEach(() => {
  expect(resticsOf(process.pid)).toEqual([]);
});

/** The restics that a process has started, and that run now, with their arguments as everybody on the host can read them. */
const resticsOf = (parentPid: number) =>
  pids()
    .filter((pid) => readProcessStat(pid)?.parentPid === parentPid)
    .map((pid) => ({ pid, argv: readOrNothing(`/proc/${pid}/cmdline`).split('\0') }))
    .filter(({ argv }) => argv[0] === 'restic');

const names = async (of = store) => (await of.list()).map(({ snapshot }) => snapshot);
const receive = async (snapshot: string, to = store) =>
  await to.receive(await contentIn(source, snapshot), {});
const verdict = async () => await verdictOf(storeOf(config), first);
const unusable = (problem: RegExp) => ({
  code: 'StoreUnusable',
  facts: { store: 'offsite', problem: expect.stringMatching(problem) },
});
const repositoryBytes = async () =>
  Number((await runTool('du', ['-sb', config.repository])).toString().split('\t')[0]);

/** Every pack of the repository, the largest first: those of files are larger than those of directories. */
async function packs(): Promise<string[]> {
  const data = join(config.repository, 'data');
  const found = (await readdir(data, { recursive: true })).filter((name) => /[0-9a-f]{64}$/.test(name));
  const sized = await Promise.all(
    found.map(async (name) => ({ path: join(data, name), size: (await stat(join(data, name))).size })),
  );
  return sized.sort((a, b) => b.size - a.size).map(({ path }) => path);
}

async function packsAddedBy(add: () => Promise<unknown>): Promise<string[]> {
  const before = new Set(await packs());
  await add();
  return (await packs()).filter((pack) => !before.has(pack));
}

/** A PATH on which a backup of 24 MiB takes some seconds, for what is to happen in the middle of it. */
const slowPath = () =>
  pathWithRestic(
    join(dir, 'slow'),
    `[ "$1" = backup ] && set -- backup --limit-upload 4096 "\${@:2}"`,
    'exec -a restic restic "$@"',
  );

/** Begins to bring `first` to where nothing is yet; returns once some of it has come, and most is still to come. */
async function beginToReceive(to = config) {
  const environmentFile = join(dir, 'slow-environment');
  const environment = readOrNothing(config.environmentFile ?? '');
  await writeFile(environmentFile, `${environment}PATH=${await slowPath()}\n`);
  const given = receive(first, storeOf({ ...to, environmentFile }));
  given.catch(() => {});
  await waitFor('the first data', async () => (await packs()).length > 0);
  return { given };
}

test('a day later costs what has changed, and plain restic brings the disk back, byte for byte', async () => {
  const before = await repositoryBytes();
  await receive(second);
  const grownBytes = (await repositoryBytes()) - before;
  expect(grownBytes).toBeLessThan(dataBytes / 3);
  const [entry] = JSON.parse(await restic(config, 'snapshots', '--json', '--tag', second));
  expect(entry).toMatchObject({
    hostname: 'debian',
    tags: ['umlsnap', second, `owner=${ours.id}`, 'owner-host=here'],
  });
  expect(entry.time).toMatch(/^2026-11-22T03:15:00/);
  const to = join(config.repository, '..', 'by-restic');
  await restic(config, 'restore', entry.id, '--target', to);
  const { sha256 } = (await soundIn(source, second)).manifest.disks[0] ?? {};
  expect(await sha256sum(join(to, 'disks', 'ubd0.img'))).toBe(sha256);
  expect(await readdir(to)).toEqual(['disks', 'manifest.json']);
});

test('the password and the keys are in no argument of restic and in no error, wherever they come from', async () => {
  const secret = 'AKIA-very-secret';
  config = { ...config, passwordFile: null, passwordCommand: ['printf', '%s\\n', password] };
  store = storeOf(config);
  const told = join(dir, 'told');
  const telling = [`echo "restic $*" >> ${told}`, 'exec -a restic restic "$@"'];
  const environment = {
    ...{ RESTIC_CACHE_DIR: join(dir, 'cache'), AWS_SECRET_ACCESS_KEY: `"${secret}"` },
    PATH: await pathWithRestic(join(dir, 'telling'), ...telling),
  };
  const lines = Object.entries(environment).map(([name, value]) => `${name}=${value}\n`);
  await writeFile(config.environmentFile ?? '', lines.join(''));
  await receive(second);
  const seen = readOrNothing(told);
  expect(seen).toMatch(/^restic backup /m);
  expect(seen).not.toMatch(new RegExp(`${password}|${secret}`));
  const refused: [Partial<ResticStoreConfig>, RegExp][] = [
    [{ passwordCommand: ['printf', 'wrong-password\\n'] }, /the password does not open it/],
    [{ passwordCommand: ['sh', '-c', 'echo no pass >&2; exit 3'] }, /its passwordCommand failed: no pass/],
    [{ passwordCommand: ['true'] }, /its passwordCommand gave no password/],
    [{ passwordCommand: null, passwordFile: '/no/such/file' }, /\/no\/such\/file does not exist/],
    [{ environmentFile: '/no/such/file' }, /its environmentFile can't be read/],
    [{ repository: `rest:http://me:${secret}@127.0.0.1:9/` }, /connection refused/],
  ];
  for (const [changes, problem] of refused) {
    const refusing = storeOf({ ...config, ...changes });
    const error = await refusing.prepare(id).catch((thrown: Error) => thrown);
    expect(error).toMatchObject(unusable(problem));
    const { stack, cause } = error as Error;
    expect(`${stack} ${cause}`).not.toMatch(new RegExp(`${password}|wrong-password|${secret}`));
  }
});

test('a byte flipped in a pack, one cut short and one gone are found, and nothing is restored of them', async () => {
  const [one = '', other = ''] = await packs();
  await flipByte(one, 0.3);
  const to = join(config.repository, '..', 'restored');
  const refused = { code: 'SnapshotDamaged', facts: { snapshot: first } };
  expect(await restoreFailure(storeOf(config), first, to)).toMatchObject(refused);
  // Nothing that looks like a disk is left.
  expect(await readdir(to)).toEqual([]);
  expect(await store.checkRepository(100)).toMatchObject({ ok: false });
  await flipByte(one, 0.3);
  for (const [pack, harm, what] of [
    [one, () => flipByte(one, 0.6), /ubd0.img can't be read: .*failed/],
    [other, () => flipByte(other, 0.9), /ubd0.img can't be read: .*failed/],
    [one, () => truncate(one, 1_000_000), /ubd0.img can't be read/],
    [one, () => rm(one), /ubd0.img can't be read: .*no such file/],
  ] as const) {
    await copyFile(pack, `${pack}.kept`);
    await harm();
    expect(await verdict()).toMatchObject({ ok: false, problem: expect.stringMatching(what) });
    await rename(`${pack}.kept`, pack);
  }
  expect(await verdict()).toMatchObject({ ok: true });
  expect(await store.checkRepository(100)).toEqual({ ok: true });
});

test('what restic holds and gives out damaged is left as it is, with what to do by hand, and is healed after that', async () => {
  const content = await contentIn(source, first);
  const [pack = ''] = await packs();
  await flipByte(pack, 0.3);
  const before = await restic(config, 'snapshots', '--json');
  const heal = async () => await store.heal(await store.read(first), content, {});
  const byHand =
    /`restic check --read-data` names .* `restic repair packs ID` .* `umlsnap verify \S+ --heal`/;
  await expect(heal()).rejects.toMatchObject(unusable(byHand));
  expect(await restic(config, 'snapshots', '--json')).toBe(before);
  const named = expect.objectContaining({ message: expect.stringContaining(basename(pack).slice(0, 8)) });
  await expect(restic(config, 'check', '--read-data')).rejects.toEqual(named);
  // As the command of the newer restic does it, which this one has not.
  await rm(pack);
  await restic(config, 'rebuild-index');
  await heal();
  expect(await verdictOf(store, first)).toMatchObject({ ok: true });
});

test('damage that no snapshot of ours shows is found by a verification of all', async () => {
  const file = join(dir, 'of-others');
  await writeFile(file, randomBytes(1_000_000));
  const [theirs = ''] = await packsAddedBy(() => restic(config, 'backup', '--host', 'elsewhere', file));
  const { signal } = new AbortController();
  const settings = { state: dir, verify: resolveVerify({ filesystems: false }, 'UTC') } as Config;
  const history = new UmlsnapError('HistoryUnusable', { path: dir, problem: 'there is none' });
  const deps = { config: settings, stateDirectory: dir, stores: [store], history, isDrilled: () => false };
  const verifyAll = async () => await verify({ of: 'guest', guest: null }, deps, { signal });
  expect(await verifyAll()).toMatchObject({ ok: 1, error: null });
  await rm(theirs);
  // Also where it is that pack of all that restic wants to read: it tries that again and again.
  expect(await store.checkRepository(100)).toMatchObject({ ok: false });
  const message = expect.stringContaining('its own check found damage');
  const error = { code: 'StoreUnusable', message };
  expect(await verifyAll()).toMatchObject({ ok: 1, damaged: 0, status: 'failed', error });
});

test('a snapshot whose list of files is damaged is listed as such, and no other suffers', async () => {
  const added = await packsAddedBy(() => receive(second));
  // Its directories: the smallest of what came with it.
  await flipByte(added.at(-1) ?? '', 0.1);
  // Neither our memory of it, nor restic's.
  const anew = storeOf(await configIn(await makeTempDir(dir), config.repository));
  const damaged = { snapshot: second, damaged: expect.any(String) };
  expect(await anew.list()).toMatchObject([damaged, { snapshot: first, manifest: {} }]);
  await trashIn(anew, second);
  expect(await names(anew)).toEqual([first]);
});

test('what is not ours stays in the repository, and is neither listed nor removed', async () => {
  const file = join(dir, 'foreign');
  await writeFile(file, 'of somebody else');
  await restic(config, 'backup', '--host', 'debian', file);
  await restic(config, 'backup', '--host', 'debian', '--tag', 'umlsnap', file);
  await restic(config, 'backup', '--host', 'elsewhere', '--tag', `umlsnap,${second}`, file);
  // Ours, but for its disk: restic makes such a one, and says that all went well, when a file is gone.
  await restic(config, 'backup', '--host', 'debian', '--tag', `umlsnap,${second}`, file);
  const count = async () => JSON.parse(await restic(config, 'snapshots', '--json')).length;
  expect(await count()).toBe(5);
  expect(await names()).toEqual([first]);
  await receive(second);
  expect(await count()).toBe(5);
  expect(await names()).toEqual([second, first]);
  await trashIn(store, first);
  await trashIn(store, second);
  await store.emptyTrash();
  expect(await names()).toEqual([]);
  expect(await count()).toBe(3);
  expect(await restic(config, 'dump', 'latest', file)).toBe('of somebody else');
  expect(await repositoryBytes()).toBeLessThan(dataBytes / 2);
});

test('a repository on this host that is another user’s is not touched: he could lead restic’s hand', async (context) => {
  if (process.getuid?.() !== 0) return context.skip('needs root');
  await useFresh('nothing');
  await chown(config.repository, 65_534, 65_534);
  await expect(storeOf(config).prepare(null)).rejects.toMatchObject(unusable(/belongs to user 65534/));
  await expect(storeOf(config).isMounted(null)).rejects.toMatchObject(unusable(/belongs to user 65534/));
});

test('a kill while it is pinned leaves it once in the list, pinned, and its removal removes all of it', async () => {
  const snapshots = join(config.repository, 'snapshots');
  const [old = ''] = await readdir(snapshots);
  await copyFile(join(snapshots, old), join(dir, 'old'));
  await pinIn(store, first, true);
  await copyFile(join(dir, 'old'), join(snapshots, old));
  expect(await readdir(snapshots)).toHaveLength(2);
  expect(await names()).toEqual([first]);
  expect((await soundIn(store, first)).manifest.pinned).toBe(true);
  await trashIn(store, first);
  expect(await readdir(snapshots)).toEqual([]);
});

test('a repository that is gone, another one, and an empty directory in its place are told from one that was never made', async () => {
  const gone = { code: 'StoreNotMounted', facts: { store: 'offsite', path: config.repository } };
  await expect(store.prepare('another')).rejects.toMatchObject(gone);
  await rename(config.repository, `${config.repository}.unmounted`);
  await expect(store.prepare(id)).rejects.toMatchObject(gone);
  await expect(store.list()).rejects.toMatchObject(gone);
  await mkdir(config.repository);
  await expect(store.isMounted(id)).rejects.toMatchObject(gone);
  await expect(receive(second)).rejects.toMatchObject(gone);
  expect(await store.isMounted(null)).toBe(false);
  await writeFile(join(config.repository, 'letter'), '');
  await expect(store.prepare(null)).rejects.toMatchObject(unusable(/letter is there/));
});

test('a server that dies half-way costs the copy and not the snapshots; it goes on when the server is back', async () => {
  await useFresh('nothing');
  let server = await startServer(config.repository);
  const at = () => ({ ...config, repository: server.repository });
  const remote = () => storeOf(at());
  try {
    const made = await remote().prepare(null);
    const { given } = await beginToReceive(at());
    server.kill();
    await expect(given).rejects.toMatchObject(unusable(/connection refused|EOF|reset/));
    await server.end();
    server = await startServer(config.repository);
    expect(await remote().prepare(made.id)).toEqual({ id: made.id, created: false });
    expect(await names(remote())).toEqual([]);
    await receive(first, remote());
    // The same in the middle of a restore: no beginning of a disk is taken for the whole of it.
    const image = await remote().openFile(await soundIn(remote(), first), 'ubd0.img');
    if (image.from !== 'stream') throw new Error('no stream');
    let readBytes = 0;
    const read = (async () => {
      for await (const { data } of image.pieces) {
        if (readBytes === 0) server.kill();
        readBytes += data.length;
      }
    })();
    await expect(read).rejects.toMatchObject({ code: 'StoreUnusable' });
    expect(readBytes).toBeLessThan(dataBytes);
    await image.close();
  } finally {
    await server.end();
  }
});

test('kill -9 of restic, and of us, leave nothing in the list that is not whole, and nothing in the way of the next', async () => {
  await useFresh('nothing');
  const backup = (pid: number) => resticsOf(pid).find(({ argv }) => argv[1] === 'backup')?.pid;
  const { given } = await beginToReceive();
  process.kill(await waitFor('its backup', () => backup(process.pid)), 'SIGKILL');
  await expect(given).rejects.toMatchObject(unusable(/SIGKILL/));
  expect(await names()).toEqual([]);
  const place = join(config.repository, '..');
  const script = new URL('./receive-child.ts', import.meta.url);
  const PATH = await slowPath();
  const child = startScript(script, [place, config.repository, source.path, first], { PATH });
  const orphan = readProcessStat(await waitFor('its backup', () => backup(child.pid)));
  child.kill('SIGKILL');
  await child.exited;
  await waitFor('the end of restic', () => orphan === undefined || !isAlive(orphan));
  const work = join(config.staging, '.umlsnap-store-restic', 'offsite');
  expect((await readdir(work)).filter((entry) => entry.startsWith('debian'))).toHaveLength(1);
  // restic may have come to its end without us: then it is whole.
  const listed = await store.list();
  expect(listed.filter((stored) => 'damaged' in stored)).toEqual([]);
  if (listed.length > 0) await trashIn(store, first);
  await receive(first);
  expect(await verdictOf(store, first)).toMatchObject({ ok: true });
  expect((await readdir(work)).filter((entry) => entry.startsWith('debian'))).toEqual([]);
});

const noLoop = whyNoLoopMount('ext4');
if (noLoop !== undefined) console.warn(`SKIPPED: restic on a full and on a read-only file system: ${noLoop}`);
test.skipIf(noLoop !== undefined)(
  'a place that is full takes nothing more, also where restic hangs there in silence, one that is read-only neither, and what both hold is restored all the same (faults 29 and 32)',
  async () => {
    const environmentFile = join(dir, 'silent-environment');
    const silentPath = await pathWithRestic(join(dir, 'silent'), 'exec sleep 600');
    await writeFile(environmentFile, `PATH=${silentPath}\n`);
    const other = 'other@20261123T031500Z';
    const image = { sizeBytes: 9_000_000, pieces: [{ offset: 0, length: 9_000_000 }] };
    await sealSparse(source, other, { ubd0: image });
    await withLoopFilesystem({ type: 'ext4', sizeMiB: 64 }, async (mountPoint) => {
      const on = { ...config, repository: join(mountPoint, 'repository') };
      await runTool('cp', ['-a', templateOf('first'), on.repository]);
      store = storeOf(on);
      const hanging = storeOf({ ...on, environmentFile }, { silenceMs: 500 });
      const tooFull = { code: 'StoreTooFull', facts: { store: 'offsite', freeInodes: expect.any(Number) } };
      const expectThere = async () => {
        expect(await names()).toEqual([first]);
        expect(await verdictOf(store, first)).toMatchObject({ ok: true });
      };
      await expect(hanging.list()).rejects.toMatchObject(unusable(/nothing got on/));
      const { bavail, bsize } = await statfs(mountPoint);
      const allButTwo = `${bavail * bsize - 2 * 1024 * 1024}`;
      await runTool('fallocate', ['-l', allButTwo, join(mountPoint, 'filling')]);
      await expect(hanging.list()).rejects.toMatchObject(tooFull);
      // restic 0.14 says so, or hangs in silence.
      await expect(receive(other)).rejects.toMatchObject(tooFull);
      await runTool('sh', ['-c', 'cat /dev/zero > "$0"/rest || true', mountPoint]);
      await expectThere();
      await runTool('mount', ['-o', 'remount,ro', mountPoint]);
      await expect(store.proveWritable()).rejects.toMatchObject(unusable(/read-only/));
      await expect(receive(other)).rejects.toMatchObject(unusable(/read-only/));
      await expectThere();
    });
  },
);

test('a lock of a dead process is removed, and one of a living process is named', async () => {
  const locks = join(config.repository, 'locks');
  const script = new URL('./hold-lock-child.ts', import.meta.url);
  const child = startScript(script, [config.repository, config.passwordFile ?? '']);
  try {
    await child.waitForLine('held');
    expect(await readdir(locks)).not.toEqual([]);
    // Whatever is locked: what is there can be seen.
    expect(await names()).toEqual([first]);
    await expect(pinIn(store, first, true)).rejects.toMatchObject(unusable(/locked.*PID \d+/));
  } finally {
    child.go();
    await child.exited;
  }
  expect(await readdir(locks)).not.toEqual([]);
  expect((await pinIn(store, first, true)).pinned).toBe(true);
});
