import { randomInt } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { findSnapshot, recordedRows, restoreSourceOf, whileReading } from '../../jobs/find-snapshot.js';
import { verify } from '../../jobs/verify.js';
import type { VerifyProgress } from '../../jobs/verify-tally.js';
import type { House } from '../../src/compose.js';
import { allStores } from '../../src/compose.js';
import { loadConfig } from '../../src/config/load-config.js';
import { explainError } from '../../src/error-text.js';
import { UmlsnapError } from '../../src/errors.js';
import { readProcessStat } from '../../src/process-identity.js';
import { restoreToDirectory } from '../../src/restore/restore-to-directory.js';
import { makeImage, makeLargeExt4, type Piece, withOpen } from '../image/make-image.js';
import { roundsOr } from '../support/rounds.js';
import { runTool } from '../support/run-tool.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';
import { VerifyScene } from './verify-scene.js';

/** What a verification of many snapshots comes to: none of them is ever mounted or booted here. */

let dir: string;
let scene: VerifyScene;
let image: string;
beforeEach(async () => {
  dir = await makeTempDir();
  scene = await VerifyScene.set(dir, { filesystems: false });
  image = await imageOf('disk.img', 300_000, { offset: 8192, length: 40_000 });
});
afterEach(() => removeTempDir(dir));

async function imageOf(name: string, sizeBytes: number, piece: Piece): Promise<string> {
  await makeImage(join(dir, name), sizeBytes, [piece]);
  return join(dir, name);
}

const storeOf = (snapshot: string) => join(scene.store.path, ...snapshot.split('@'));
/** Of two guests; the oldest is the last. */
async function three() {
  const keep = (guest: string, time: string) => scene.keep(guest, time, { ubd0: { from: image } });
  const first = await keep('debian', '20261120T000000Z');
  const second = await keep('debian', '20261121T000000Z');
  return { first, second, oldest: await keep('other', '20261119T000000Z') };
}

/** The backing files that the store holds. */
async function storedBackings(): Promise<string[]> {
  const place = join(scene.store.path, '.backing');
  return (await readdir(place)).filter((name) => name.endsWith('.img')).map((name) => join(place, name));
}

const flipBit = (path: string, bit: number) =>
  withOpen(path, 'r+', async (file) => {
    const byte = Buffer.alloc(1);
    await file.read(byte, 0, 1, Math.floor(bit / 8));
    byte.writeUInt8(byte.readUInt8(0) ^ (1 << (bit % 8)));
    await file.write(byte, 0, 1, Math.floor(bit / 8));
  });
const damage = (snapshot: string) => flipBit(join(storeOf(snapshot), 'ubd0.img'), 9000 * 8);

/** Brings a snapshot back into a new directory, as the command does. @returns why that failed, and what is there now */
async function broughtBack({ history }: House, stores: ReturnType<typeof allStores>, snapshot: string) {
  const to = join(scene.dir, 'restored');
  const { signal } = new AbortController();
  const bringBack = async () => {
    const found = await findSnapshot(stores, snapshot, history);
    const source = restoreSourceOf(found, await recordedRows(history, found.stored.guest));
    await whileReading(found, () => restoreToDirectory(source, to, { signal }));
    return null;
  };
  const refusal = await bringBack().catch((error: unknown) => error);
  const files = await namesIn(to);
  await rm(to, { recursive: true, force: true });
  const code = refusal instanceof UmlsnapError ? refusal.code : null;
  return { code, message: refusal === null ? null : explainError(refusal), files };
}

test.each(['with a history', 'without one'])(
  'one flipped bit is found each time, in random places, and never restored, %s',
  async (history) => {
    const backing = await imageOf('base.img', 200_000, { offset: 0, length: 60_000 });
    const cow = await imageOf('disk.cow', 250_000, { offset: 0, length: 30_000 });
    const disks = { ubd0: { from: image }, ubd1: { from: cow, backing } };
    const snapshot = await scene.keep('debian', '20261120T000000Z', disks);
    if (history === 'with a history') await scene.index();
    const own = ['manifest.json', 'ubd0.img', 'ubd1.cow'].map((name) => join(storeOf(snapshot), name));
    const files = [...own, ...(await storedBackings())];
    expect(files).toHaveLength(4);
    expect(await scene.verify()).toMatchObject({ status: 'success', ok: 1 });
    await scene.withHouse(async (house) => {
      const { signal } = new AbortController();
      const stores = allStores(await loadConfig(scene.config));
      for (let count = 0; count < roundsOr(8); count += 1) {
        const file = files[count % files.length] ?? '';
        const bit = randomInt((await stat(file)).size * 8);
        await flipBit(file, bit);
        const found = await verify({ of: 'guest', guest: null }, house, { signal });
        expect({ file, bit, found }).toMatchObject({ found: { status: 'failed', damaged: 1, ok: 0 } });
        const refused = await broughtBack(house, stores, snapshot);
        expect({ file, bit, refused }).toMatchObject({
          refused: { code: 'SnapshotDamaged', message: expect.stringContaining(snapshot), files: [] },
        });
        await flipBit(file, bit);
      }
      const restored = expect.arrayContaining(['ubd0.img']);
      expect(await broughtBack(house, stores, snapshot)).toMatchObject({ code: null, files: restored });
    });
    expect(await scene.verify()).toMatchObject({ status: 'success', ok: 1 });
  },
);

describe('a verification of many', () => {
  test('reads the one first that was verified longest ago, and of those that never were the oldest', async () => {
    const { first, second, oldest } = await three();
    for (const snapshot of [oldest, first]) await scene.verify({ of: 'snapshot', snapshot });
    const order: string[] = [];
    const onProgress = ({ verified }: VerifyProgress) => void (verified && order.push(verified.snapshot));
    await scene.verify(undefined, { onProgress });
    await scene.verify({ of: 'guest', guest: 'debian' }, { onProgress });
    expect(order).toEqual([second, oldest, first, second, first]);
  });

  test('passes over a snapshot that is removed while it is read: that is no damage', async () => {
    const { first, second } = await three();
    const onProgress = ({ verified }: VerifyProgress) =>
      void (verified && rm(storeOf(second), { recursive: true, force: true }));
    const summary = await scene.verify({ of: 'guest', guest: 'debian' }, { onProgress });
    expect(summary).toMatchObject({ status: 'success', looked: 2, damaged: 0, notRead: 0 });
    expect(Number(summary.ok) + Number(summary.skipped)).toBe(2);
    expect(await scene.verifications()).toContainEqual(
      expect.objectContaining({ snapshot: first, result: 'ok' }),
    );
  });

  test('reads a backing file once for all snapshots that share it, and a damaged one makes each of them bad', async () => {
    const backing = await imageOf('base.img', 2_000_000, { offset: 0, length: 2_000_000 });
    const cow = await imageOf('disk.cow', 8192, { offset: 0, length: 4096 });
    for (const day of [1, 2, 3])
      await scene.keep('debian', `2026110${day}T000000Z`, { ubd0: { from: cow, backing } });
    const { ok, readBytes } = await scene.verify();
    expect(ok).toBe(3);
    expect(Number(readBytes)).toBeLessThan(2_000_000 + 3 * 8192 + 4096);
    const [stored = ''] = await storedBackings();
    await flipBit(stored, 1_000_000 * 8);
    expect(await scene.verify()).toMatchObject({ status: 'failed', damaged: 3 });
  });

  test('is given up when it is told so, and what it found until then is kept', async () => {
    const { oldest } = await three();
    const abort = new AbortController();
    const onProgress = ({ verified }: VerifyProgress) =>
      verified && abort.abort(new UmlsnapError('Interrupted', { signal: 'SIGINT' }));
    const summary = await scene.verify(undefined, { onProgress, signal: abort.signal });
    expect(summary).toMatchObject({ status: 'interrupted', ok: 1, looked: 3 });
    expect(await scene.verifications()).toMatchObject([{ snapshot: oldest, result: 'ok' }]);
  });

  test('holds to its rate over all of them, small as they are', async () => {
    await three();
    const bytes = 3 * 40_000 + 3 * 4096;
    await scene.configure({ filesystems: false, rate: '64KiB/s' });
    const startedMs = performance.now();
    const summary = await scene.verify();
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
    await damage(first);
    await rm(join(storeOf(oldest), 'ubd0.img'));
    const { exitCode, stdout, stderr } = await scene.run('verify');
    expect(exitCode).toBe(1);
    expect(stdout).toContain(`${second} (store local) is as it was captured.`);
    expect(stdout).toMatch(/3 snapshots, .* read: 1 good, 2 damaged/);
    expect(stderr).toContain(`${first} in store local: ubd0.img does not match its checksum`);
    expect(stderr).toContain(oldest);
    const message = expect.stringContaining('2 of 3 snapshots are bad');
    const [job] = await scene.withHouse(({ history }) => history.jobs({}));
    expect(job).toMatchObject({
      ...{ kind: 'verify', status: 'failed', error: { code: 'SnapshotsBad', message } },
      summary: { looked: 3, ok: 1, damaged: 2, notRead: 0, skipped: 0 },
    });
    const kept = new Map((await scene.verifications()).map((one) => [one.snapshot, one]));
    expect(kept.get(second)).toMatchObject({ result: 'ok', problem: null, job: job?.job, store: 'local' });
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
    const path = await imageOf('large.img', 4_000_000, { offset: 0, length: 4_000_000 });
    const large = await scene.keep('debian', '20261101T000000Z', { ubd0: { from: path } });
    await scene.configure({ filesystems: false, rate: '64KiB/s' });
    const running = scene.start('verify', large, '--json');
    await running.waitForOutput(/"doneBytes":/);
    running.kill('SIGINT');
    expect(await running.exited).toMatchObject({ exitCode: 130 });
    const [job] = await scene.withHouse(({ history }) => history.jobs({}));
    expect(job).toMatchObject({ kind: 'verify', status: 'interrupted' });
  });
});

test('a store that is away is a warning, and the others are read', async () => {
  await three();
  await scene.index();
  await rm(join(scene.store.path, '.umlsnap-store'));
  const warnings = [expect.stringContaining('Store local')];
  expect(await scene.verify()).toMatchObject({ status: 'warning', looked: 0, warnings });
});

test('killed in the middle of a check it takes its checker with it, and `recover` or the next run removes what it had copied', async () => {
  const places = [join(scene.state, 'scratch'), join(scene.store.path, '.scratch')];
  /** Scratch copies that are there now. */
  const copies = async () => {
    const names = await Promise.all(
      places.map(async (at) => (await namesIn(at)).map((name) => join(at, name))),
    );
    return names.flat();
  };
  const large = join(dir, 'large.img');
  await makeLargeExt4(large, 200_000);
  const snapshot = await scene.keep('debian', '20261101T000000Z', { ubd0: { from: large } });
  await scene.configure({});
  const running = scene.start('verify', snapshot);
  const checker = await waitFor('a checker at work', () => checkerOf(running.pid), { everyMs: 2 });
  running.kill('SIGKILL');
  await running.exited;
  await waitFor('the checker to end with us', () => readProcessStat(checker) === undefined);
  const [copy = '', ...more] = await copies();
  expect(more).toEqual([]);
  const left = join(dir, 'left');
  await runTool('cp', ['-a', '--sparse=always', copy, left]);
  const { exitCode, stdout } = await scene.run('recover');
  expect({ exitCode, stdout }).toMatchObject({
    ...{ exitCode: 0, stdout: expect.stringMatching(/removed .*scratch/) },
  });
  expect(await copies()).toEqual([]);
  await mkdir(dirname(copy), { recursive: true, mode: 0o700 });
  await rename(left, copy);
  expect(await scene.verify({ of: 'snapshot', snapshot })).toMatchObject({
    ...{ status: 'success', filesystems: [{ type: 'ext4', verdict: 'sound' }] },
  });
  expect(await copies()).toEqual([]);
});

const namesIn = (directory: string) => readdir(directory).catch((): string[] => []);

/** The e2fsck among the children of this process. */
function checkerOf(parentPid: number): number | undefined {
  const pids = readdirSync('/proc').map(Number).filter(Boolean);
  return pids.find((pid) => {
    return readProcessStat(pid)?.parentPid === parentPid && commandOf(pid) === 'e2fsck';
  });
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
  } catch {
    return ''; // it ended since we looked
  }
}
