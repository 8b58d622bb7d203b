import { randomInt } from 'node:crypto';
import { existsSync, renameSync } from 'node:fs';
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { recover } from '../../jobs/recover.js';
import { type VerifyWork, verify } from '../../jobs/verify.js';
import { type App, withApp } from '../../src/compose.js';
import { loadConfig } from '../../src/config/load-config.js';
import { findCopy } from '../../src/copies/find-copy.js';
import { recordedRows, restoreSourceOf, whileReading } from '../../src/copies/find-snapshot.js';
import { explainError } from '../../src/error-text.js';
import { UmlsnapError } from '../../src/errors.js';
import { recoverAtStart } from '../../src/job/recover-at-start.js';
import { readProcessStat } from '../../src/process-identity.js';
import { restoreToDirectory } from '../../src/restore/restore-to-directory.js';
import type { DirectoryStore } from '../../src/store/directory-store.js';
import type { VerifyProgress } from '../../src/verify/verify-tally.js';
import type { VerifyScope } from '../../src/verify/verify-targets.js';
import { canTrace, throughInjected } from '../capture/traced.js';
import { makeImage } from '../image/make-image.js';
import { flipByte } from '../store/capture-of-tests.js';
import { storeAt } from '../store/fresh-store.js';
import { type ImageSpec, sealSparse } from '../store/sparse-snapshots.js';
import { boxedRunning } from '../support/guest-processes.js';
import { roundsOr } from '../support/rounds.js';
import { runTool } from '../support/run-tool.js';
import { Scene } from '../support/scene.js';
import { waitFor } from '../support/wait-for.js';

/** What a verification of many snapshots comes to: none of them is ever mounted or booted here. */

const { signal } = new AbortController();
const guestNamed = (name: string) => ({ mconsole: `/nowhere/${name}`, disks: { ubd0: `/srv/${name}.img` } });
const guests = { debian: guestNamed('debian'), other: guestNamed('other') };
const image: ImageSpec = { sizeBytes: 300_000, pieces: [{ offset: 8192, length: 40_000 }] };

let scene: Scene;
let store: DirectoryStore;
beforeEach(async () => {
  scene = new Scene({ guest: null, config: { guests } });
  await scene.build();
  store = storeAt(scene.store);
  await store.prepare(null);
  await scene.own();
});
afterEach(() => scene.remove());

/** What the config says of it, where that is not `filesystems: false`. */
const configure = (settings: Record<string, unknown>) => scene.configure(undefined, { verify: settings });

async function keep(guest: string, time: string, disks: Record<string, ImageSpec> = { ubd0: image }) {
  return (await sealSparse(store, `${guest}@${time}`, disks)).snapshot;
}

/** Of two guests; the oldest is the last. */
async function three() {
  const [first, second] = [
    await keep('debian', '20261120T000000Z'),
    await keep('debian', '20261121T000000Z'),
  ];
  return { first, second, oldest: await keep('other', '20261119T000000Z') };
}

async function backingOf(length: number): Promise<string> {
  await makeImage(scene.path('base.img'), 2_000_000, [{ offset: 0, length }]);
  return scene.path('base.img');
}

/** The backing files that the store holds. */
async function storedBackings(): Promise<string[]> {
  const place = join(store.path, '.backing');
  return (await readdir(place)).filter((name) => name.endsWith('.img')).map((name) => join(place, name));
}

const inApp = async <T>(use: (app: App) => Promise<T>) => await withApp(await loadConfig(scene.config), use);
/** Puts what lies in the store into the history. */
const index = () => inApp(async (app) => recover(app, await recoverAtStart(app.history, [])));
const verified = (scope: VerifyScope = { of: 'guest', guest: null }, work: Partial<VerifyWork> = {}) =>
  inApp((app) => verify(scope, app, { signal, ...work }));
const verifications = () => scene.withHistory((history) => history.verifications({}));
const namesIn = (directory: string) => readdir(directory).catch((): string[] => []);

/** Brings a snapshot back into a new directory, as the command does. @returns why that failed, and what is there now */
async function broughtBack(snapshot: string) {
  const to = scene.path('restored');
  const refusal: unknown = await inApp(async (app) => {
    const { history } = app;
    // Whatever a verification has said: the restore itself has to find it.
    const found = await findCopy(app, { name: snapshot, takesUnsound: true });
    const source = restoreSourceOf(found, await recordedRows(history, found.stored.guest));
    await whileReading(found, () => restoreToDirectory(source, to, { signal }));
    return null;
  }).catch((error: unknown) => error);
  const files = await namesIn(to);
  await rm(to, { recursive: true, force: true });
  const code = refusal instanceof UmlsnapError ? refusal.code : null;
  return { code, message: refusal === null ? null : explainError(refusal), files };
}

test.each(['with a history', 'without one'])(
  'one flipped bit is found each time, in random places, and never restored, %s',
  async (history) => {
    const cow = { sizeBytes: 250_000, pieces: [{ offset: 0, length: 30_000 }] };
    const disks = { ubd0: image, ubd1: { ...cow, backing: await backingOf(60_000) } };
    const snapshot = await keep('debian', '20261120T000000Z', disks);
    if (history === 'with a history') await index();
    const own = ['manifest.json', 'ubd0.img', 'ubd1.cow'].map((name) =>
      join(scene.directoryOf(snapshot), name),
    );
    const files = [...own, ...(await storedBackings())];
    expect(files).toHaveLength(4);
    expect(await verified()).toMatchObject({ status: 'success', ok: 1 });
    for (let count = 0; count < roundsOr(8); count += 1) {
      const file = files[count % files.length] ?? '';
      const [share, mask] = [Math.random(), 1 << randomInt(8)];
      await flipByte(file, share, mask);
      const found = await verified();
      const refused = await broughtBack(snapshot);
      expect({ file, share, mask, found, refused }).toMatchObject({
        found: { status: 'failed', damaged: 1, ok: 0 },
        refused: { code: 'SnapshotDamaged', message: expect.stringContaining(snapshot), files: [] },
      });
      await flipByte(file, share, mask);
    }
    const restored = expect.arrayContaining(['ubd0.img']);
    expect(await broughtBack(snapshot)).toMatchObject({ code: null, files: restored });
    expect(await verified()).toMatchObject({ status: 'success', ok: 1 });
  },
);

describe('a verification of many', () => {
  test('reads the one first that was verified longest ago, and of those that never were the oldest', async () => {
    const { first, second, oldest } = await three();
    for (const snapshot of [oldest, first]) await verified({ of: 'snapshot', snapshot });
    const order: string[] = [];
    const onProgress = ({ verified }: VerifyProgress) => void (verified && order.push(verified.snapshot));
    await verified(undefined, { onProgress });
    await verified({ of: 'guest', guest: 'debian' }, { onProgress });
    expect(order).toEqual([second, oldest, first, second, first]);
  });

  test('passes over a snapshot that is removed while it is read: that is no damage', async () => {
    const { first, second } = await three();
    const trash = scene.path('trash');
    const onProgress = ({ verified }: VerifyProgress) =>
      void (verified && !existsSync(trash) && renameSync(scene.directoryOf(second), trash));
    const summary = await verified({ of: 'guest', guest: 'debian' }, { onProgress });
    expect(summary).toMatchObject({ status: 'success', looked: 2, damaged: 0, notRead: 0 });
    expect(Number(summary.ok) + Number(summary.skipped)).toBe(2);
    expect(await verifications()).toContainEqual(expect.objectContaining({ snapshot: first, result: 'ok' }));
  });

  test('reads a backing file once for all snapshots that share it, and a damaged one makes each of them bad', async () => {
    const cow = {
      sizeBytes: 8192,
      pieces: [{ offset: 0, length: 4096 }],
      backing: await backingOf(2_000_000),
    };
    for (const day of [1, 2, 3]) await keep('debian', `2026110${day}T000000Z`, { ubd0: cow });
    const { ok, readBytes } = await verified();
    expect(ok).toBe(3);
    expect(Number(readBytes)).toBeLessThan(2_000_000 + 3 * 8192 + 4096);
    const [stored = ''] = await storedBackings();
    await flipByte(stored);
    expect(await verified()).toMatchObject({ status: 'failed', damaged: 3 });
  });

  test('is given up when it is told so, and what it found until then is kept', async () => {
    const { oldest } = await three();
    const abort = new AbortController();
    const onProgress = ({ verified }: VerifyProgress) =>
      verified && abort.abort(new UmlsnapError('Interrupted', { signal: 'SIGINT' }));
    const summary = await verified(undefined, { onProgress, signal: abort.signal });
    expect(summary).toMatchObject({ status: 'interrupted', ok: 1, looked: 3 });
    expect(await verifications()).toMatchObject([{ snapshot: oldest, result: 'ok' }]);
  });

  test('holds to its rate over all of them, small as they are', async () => {
    await three();
    const bytes = 3 * 40_000 + 3 * 4096;
    await configure({ filesystems: false, rate: '64KiB/s' });
    const startedMs = performance.now();
    const summary = await verified();
    const tookMs = performance.now() - startedMs;
    expect(summary).toMatchObject({ status: 'success', ok: 3 });
    expect(Number(summary.readBytes)).toBeGreaterThanOrEqual(120_000);
    // A tenth of a second may go at once.
    const fastest = ((Math.min(bytes, Number(summary.readBytes)) - 6554) / 65_536) * 1000;
    expect(tookMs).toBeGreaterThan(fastest * 0.9);
  });
});

describe('by the command line', () => {
  test('each one that is bad is named, the others are read all the same, and list and show tell what was found', async () => {
    const { first, second, oldest } = await three();
    await flipByte(join(scene.directoryOf(first), 'ubd0.img'), 0.03);
    await rm(join(scene.directoryOf(oldest), 'ubd0.img'));
    const { exitCode, stdout, stderr } = await scene.run('verify');
    expect(exitCode).toBe(1);
    expect(stdout).toContain(`${second} (store local) is as it was captured.`);
    expect(stdout).toMatch(/3 snapshots, .* read: 1 good, 2 damaged/);
    expect(stderr).toContain(`${first} in store local: ubd0.img does not match its checksum`);
    expect(stderr).toContain(oldest);
    const message = expect.stringContaining('2 of 3 snapshots are bad');
    const job = await scene.newestJob();
    expect(job).toMatchObject({
      ...{ kind: 'verify', status: 'failed', error: { code: 'SnapshotsBad', message } },
      summary: { looked: 3, ok: 1, damaged: 2, notRead: 0, skipped: 0 },
    });
    const kept = new Map((await verifications()).map((one) => [one.snapshot, one]));
    expect(kept.get(second)).toMatchObject({ result: 'ok', problem: null, job: job.job, store: 'local' });
    expect(kept.get(first)).toMatchObject({ result: 'damaged' });
    expect(kept.get(oldest)).toMatchObject({ result: 'damaged' });
    const listed = await scene.run('list');
    expect(listed.stdout).toMatch(/^snapshot .* verified +result/);
    expect(listed.stdout).toMatch(new RegExp(`${first} .*\\d\\d:\\d\\d:\\d\\d +DAMAGED`));
    expect(listed.stdout).toMatch(new RegExp(`${second} .*\\d\\d:\\d\\d:\\d\\d +ok`));
    const json = (await scene.run('list', '--json')).json.find(({ snapshot }) => snapshot === first);
    const problem = expect.stringContaining('checksum');
    expect(json).toMatchObject({ verified: { result: 'damaged', problem } });
    const shown = (await scene.run('show', first)).stdout;
    expect(shown).toMatch(/verified +\d.* by job .*: DAMAGED: ubd0.img does not/);
    const ofSecond = (await scene.run('show', second, '--json')).json;
    expect(ofSecond).toMatchObject([{ type: 'snapshot', verified: { result: 'ok' } }]);

    const alone = await scene.run('verify', first, '--json');
    const error = { code: 'SnapshotDamaged' };
    expect(alone.exitCode).toBe(1);
    expect(alone.json.at(-1)).toMatchObject({ snapshot: first, result: 'damaged', error });
    expect((await scene.run('verify', '--guest', 'nobody')).exitCode).toBe(10);
    expect((await scene.run('verify', first, '--guest', 'debian')).exitCode).toBe(2);
  });

  test('Ctrl-C ends it in the middle of a slow reading', async () => {
    const pieces = [{ offset: 0, length: 4_000_000 }];
    const large = await keep('debian', '20261101T000000Z', { ubd0: { sizeBytes: 4_000_000, pieces } });
    await configure({ filesystems: false, rate: '64KiB/s' });
    const running = scene.start(['verify', large, '--json']);
    await running.waitForOutput(/"doneBytes":/);
    running.kill('SIGINT');
    expect(await running.exited).toMatchObject({ exitCode: 130 });
    expect(await scene.newestJob()).toMatchObject({ kind: 'verify', status: 'interrupted' });
  });
});

test('a store that is away is a warning, and the others are read', async () => {
  await three();
  await index();
  await rm(join(store.path, '.umlsnap-store'));
  const warnings = [expect.stringContaining('Store local')];
  expect(await verified()).toMatchObject({ status: 'warning', looked: 0, warnings });
});

const untraceable = (await canTrace()) ? '' : ' (skipped: strace is missing or may not trace)';
test.skipIf(untraceable)(
  `killed in the middle of a check it takes its checker with it, and \`recover\` or the next run removes what it had copied${untraceable}`,
  async () => {
    const places = [join(scene.state, 'scratch'), join(store.path, '.scratch')];
    /** Scratch copies that are there now. */
    const copies = async () => {
      const names = places.map(async (at) => (await namesIn(at)).map((name) => join(at, name)));
      return (await Promise.all(names)).flat();
    };
    const image = scene.path('disk.img');
    await runTool('mke2fs', ['-q', '-t', 'ext4', image, '32M']);
    const snapshot = await keep('debian', '20261101T000000Z', { ubd0: { from: image } });
    await configure({});
    // Its checker stands still as soon as it is one.
    const through = throughInjected('execve:signal=STOP', '/usr/sbin/e2fsck');
    const running = scene.start(['verify', snapshot], { through });
    const checker = await waitFor('a checker at work', () => boxedRunning('e2fsck', running.pid));
    running.kill('SIGKILL');
    await running.exited;
    await waitFor('the checker to end with us', () => readProcessStat(checker) === undefined);
    const [copy = '', ...more] = await copies();
    expect(more).toEqual([]);
    const left = scene.path('left');
    await runTool('cp', ['-a', '--sparse=always', copy, left]);
    const { exitCode, stdout } = await scene.run('recover');
    expect({ exitCode, stdout }).toMatchObject({
      ...{ exitCode: 0, stdout: expect.stringMatching(/removed .*scratch/) },
    });
    expect(await copies()).toEqual([]);
    await mkdir(dirname(copy), { recursive: true, mode: 0o700 });
    await rename(left, copy);
    expect(await verified({ of: 'snapshot', snapshot })).toMatchObject({
      ...{ status: 'success', filesystems: [{ type: 'ext4', verdict: 'sound' }] },
    });
    expect(await copies()).toEqual([]);
  },
);
