import { randomBytes, randomInt } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
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
import { makeImage, makeLargeExt4, withOpen } from '../image/make-image.js';
import { roundsOr } from '../support/rounds.js';
import { runTool } from '../support/run-tool.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';
import { VerifyScene } from './verify-scene.js';

/** What a verification of many snapshots comes to: none of them is ever mounted or booted here. */

let dir: string;
let scene: VerifyScene;
beforeAll(async () => {
  dir = await makeTempDir();
});
afterAll(() => removeTempDir(dir));

let image: string;
beforeEach(async () => {
  const place = join(dir, randomBytes(4).toString('hex'));
  scene = await VerifyScene.set(place, { filesystems: false });
  image = join(place, 'disk.img');
  await makeImage(image, 300_000, [{ offset: 8192, length: 40_000 }]);
});

const storeOf = (snapshot: string) => join(scene.store.path, ...snapshot.split('@'));
const three = async () => [
  await scene.keep('debian', '20261120T000000Z', { ubd0: { path: image } }),
  await scene.keep('debian', '20261121T000000Z', { ubd0: { path: image } }),
  await scene.keep('other', '20261119T000000Z', { ubd0: { path: image } }),
];

const flipBit = (path: string, bit: number) =>
  withOpen(path, 'r+', async (file) => {
    const byte = Buffer.alloc(1);
    await file.read(byte, 0, 1, Math.floor(bit / 8));
    byte.writeUInt8(byte.readUInt8(0) ^ (1 << (bit % 8)));
    await file.write(byte, 0, 1, Math.floor(bit / 8));
  });

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

describe('one flipped bit, wherever it is', () => {
  test.each(['with a history', 'without one'])(
    'is found each time, in random places, and never restored, %s',
    async (history) => {
      const backing = join(scene.dir, 'base.img');
      await makeImage(backing, 200_000, [{ offset: 0, length: 60_000 }]);
      const cow = join(scene.dir, 'disk.cow');
      await makeImage(cow, 250_000, [{ offset: 0, length: 30_000 }]);
      const disks = { ubd0: { path: image }, ubd1: { path: cow, backing } };
      const snapshot = await scene.keep('debian', '20261120T000000Z', disks);
      if (history === 'with a history') await scene.index();
      const backings = join(scene.store.path, '.backing');
      const files = [
        ...['manifest.json', 'ubd0.img', 'ubd1.cow'].map((name) => join(storeOf(snapshot), name)),
        ...(await readdir(backings))
          .filter((name) => name.endsWith('.img'))
          .map((name) => join(backings, name)),
      ];
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
        expect(await broughtBack(house, stores, snapshot)).toMatchObject({
          code: null,
          files: expect.arrayContaining(['ubd0.img']),
        });
      });
      expect(await scene.verify()).toMatchObject({ status: 'success', ok: 1 });
    },
    180_000,
  );
});

describe('a verification of many', () => {
  test('names each one that is bad, reads the others all the same, and keeps what it found', async () => {
    const [first = '', second = '', third = ''] = await three();
    await flipBit(join(storeOf(first), 'ubd0.img'), 9000 * 8);
    await rm(join(storeOf(third), 'ubd0.img'));
    const summary = await scene.verify();
    expect(summary).toMatchObject({
      ...{ kind: 'verify', status: 'failed', looked: 3, ok: 1, damaged: 2, notRead: 0, skipped: 0 },
      error: { code: 'SnapshotsBad', message: expect.stringContaining('2 of 3 snapshots are bad') },
    });
    expect(summary.error?.message).toContain(`${first} in store local: ubd0.img does not match its checksum`);
    expect(summary.error?.message).toContain(third);
    const kept = new Map((await scene.verifications()).map((one) => [one.snapshot, one]));
    expect(kept.get(second)).toMatchObject({ result: 'ok', problem: null, job: summary.job, store: 'local' });
    expect(kept.get(first)).toMatchObject({ result: 'damaged' });
    expect(kept.get(third)).toMatchObject({ result: 'damaged' });
  });

  test('reads the one first that was verified longest ago, and of those that never were the oldest', async () => {
    const [first = '', second = '', third = ''] = await three();
    await scene.verify({ of: 'snapshot', snapshot: third });
    await scene.verify({ of: 'snapshot', snapshot: first });
    const order: string[] = [];
    const onProgress = ({ verified }: VerifyProgress) => void (verified && order.push(verified.snapshot));
    await scene.verify(undefined, { onProgress });
    expect(order).toEqual([second, third, first]);
    order.length = 0;
    await scene.verify({ of: 'guest', guest: 'debian' }, { onProgress });
    expect(order).toEqual([second, first]);
  });

  test('passes over a snapshot that is removed while it is read: that is no damage', async () => {
    const [first = '', second = ''] = await three();
    const onProgress = async ({ verified }: VerifyProgress) => {
      if (verified) await rm(storeOf(second), { recursive: true, force: true });
    };
    const summary = await scene.verify(
      { of: 'guest', guest: 'debian' },
      { onProgress: (told) => void onProgress(told) },
    );
    expect(summary).toMatchObject({ status: 'success', looked: 2, damaged: 0, notRead: 0 });
    expect(Number(summary.ok) + Number(summary.skipped)).toBe(2);
    expect((await scene.verifications()).find(({ snapshot }) => snapshot === first)).toMatchObject({
      result: 'ok',
    });
  });

  test('reads a backing file once for all snapshots that share it, and a damaged one makes each of them bad', async () => {
    const [backing, cow] = [join(scene.dir, 'base.img'), join(scene.dir, 'disk.cow')];
    await makeImage(backing, 2_000_000, [{ offset: 0, length: 2_000_000 }]);
    await makeImage(cow, 8192, [{ offset: 0, length: 4096 }]);
    for (const day of [1, 2, 3])
      await scene.keep('debian', `2026110${day}T000000Z`, { ubd0: { path: cow, backing } });
    const { ok, readBytes } = await scene.verify();
    expect(ok).toBe(3);
    expect(Number(readBytes)).toBeLessThan(2_000_000 + 3 * 8192 + 4096);
    const place = join(scene.store.path, '.backing');
    const [stored = ''] = (await readdir(place)).filter((name) => name.endsWith('.img'));
    await flipBit(join(place, stored), 1_000_000 * 8);
    expect(await scene.verify()).toMatchObject({ status: 'failed', damaged: 3 });
  });

  test('is given up when it is told so, and what it found until then is kept', async () => {
    const [, , oldest = ''] = await three();
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
  test('all are read, a bad one is named, and list and show tell of it', async () => {
    const [first = '', second = ''] = await three();
    await flipBit(join(storeOf(first), 'ubd0.img'), 9000 * 8);
    const { exitCode, stdout, stderr } = await scene.run('verify');
    expect(exitCode).toBe(1);
    expect(stdout).toContain(`${second} (store local) is as it was captured.`);
    expect(stdout).toMatch(/3 snapshots, .* read: 2 good, 1 damaged/);
    expect(stderr).toContain(`${first} in store local: ubd0.img does not match its checksum`);
    const listed = await scene.run('list');
    expect(listed.stdout).toMatch(/^snapshot .* verified +result/);
    expect(listed.stdout).toMatch(new RegExp(`${first} .*\\d\\d:\\d\\d:\\d\\d +DAMAGED`));
    expect(listed.stdout).toMatch(new RegExp(`${second} .*\\d\\d:\\d\\d:\\d\\d +ok`));
    const json = (await scene.run('list', '--json')).json.find(({ snapshot }) => snapshot === first);
    expect(json).toMatchObject({
      verified: { result: 'damaged', problem: expect.stringContaining('checksum') },
    });
    expect((await scene.run('show', first)).stdout).toMatch(
      /verified +\d.* by job .*: DAMAGED: ubd0.img does not/,
    );
    const shown = (await scene.run('show', second, '--json')).json;
    expect(shown).toMatchObject([{ type: 'snapshot', verified: { result: 'ok' } }]);
  });

  test('one that is damaged has the exit code and the error that it always had', async () => {
    const [first = ''] = await three();
    await flipBit(join(storeOf(first), 'ubd0.img'), 9000 * 8);
    const { exitCode, json } = await scene.run('verify', first, '--json');
    expect(exitCode).toBe(1);
    expect(json.at(-1)).toMatchObject({
      snapshot: first,
      result: 'damaged',
      error: { code: 'SnapshotDamaged' },
    });
    expect((await scene.run('verify', '--guest', 'nobody')).exitCode).toBe(10);
    expect((await scene.run('verify', first, '--guest', 'debian')).exitCode).toBe(2);
  });

  test('Ctrl-C ends it in the middle of a slow reading', async () => {
    await three();
    await makeImage(join(scene.dir, 'large.img'), 4_000_000, [{ offset: 0, length: 4_000_000 }]);
    const large = await scene.keep('debian', '20261101T000000Z', {
      ubd0: { path: join(scene.dir, 'large.img') },
    });
    await scene.configure({ filesystems: false, rate: '64KiB/s' });
    const running = scene.start('verify', large, '--json');
    await running.waitForOutput(/"doneBytes":/);
    running.kill('SIGINT');
    const { exitCode } = await running.exited;
    expect(exitCode).toBe(130);
    const [job] = await scene.withHouse(({ history }) => history.jobs({}));
    expect(job).toMatchObject({ kind: 'verify', status: 'interrupted' });
  });
});

test('a store that is away is a warning, and the others are read', async () => {
  await three();
  await scene.index();
  await rm(join(scene.store.path, '.umlsnap-store'));
  const summary = await scene.verify();
  expect(summary).toMatchObject({
    status: 'warning',
    looked: 0,
    warnings: [expect.stringContaining('Store local')],
  });
});

describe('killed in the middle of a check', () => {
  /** Scratch copies that are there now. */
  const copies = async () => (await Promise.all(scratchPlaces().map(namesIn))).flat();
  const scratchPlaces = () => [join(scene.state, 'scratch'), join(scene.store.path, '.scratch')] as const;

  test('it takes its checker with it, and `recover` or the next run removes what it had copied', async () => {
    const large = join(scene.dir, 'large.img');
    await makeLargeExt4(large, 200_000);
    const snapshot = await scene.keep('debian', '20261101T000000Z', { ubd0: { path: large } });
    await scene.configure({});
    const running = scene.start('verify', snapshot);
    const checker = await waitFor('a checker at work', () => checkerOf(running.pid), { everyMs: 2 });
    expect(await copies()).toHaveLength(1);
    running.kill('SIGKILL');
    await running.exited;
    await waitFor('the checker to end with us', () => readProcessStat(checker) === undefined);
    expect(await copies()).toHaveLength(1);
    const left = join(scene.dir, 'left');
    const place = (await namesIn(scratchPlaces()[0])).length > 0 ? scratchPlaces()[0] : scratchPlaces()[1];
    await runTool('cp', ['-a', '--sparse=always', place, left]);
    const { exitCode, stdout } = await scene.run('recover');
    expect({ exitCode, stdout }).toMatchObject({
      exitCode: 0,
      stdout: expect.stringMatching(/removed .*scratch/),
    });
    expect(await copies()).toEqual([]);
    await rm(place, { recursive: true, force: true });
    await rename(left, place);
    expect(await copies()).toHaveLength(1);
    expect(await scene.verify({ of: 'snapshot', snapshot })).toMatchObject({
      ...{ status: 'success', filesystems: [{ type: 'ext4', verdict: 'sound' }] },
    });
    expect(await copies()).toEqual([]);
  });
});

const namesIn = (directory: string) => readdir(directory).catch((): string[] => []);

/** The e2fsck among the children of this process. */
function checkerOf(parentPid: number): number | undefined {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .find((pid) => readProcessStat(pid)?.parentPid === parentPid && commandOf(pid) === 'e2fsck');
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
  } catch {
    return ''; // it ended since we looked
  }
}
