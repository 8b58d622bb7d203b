import { randomBytes } from 'node:crypto';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { withOpen } from '../image/make-image.js';
import { resultOf } from '../snapshot/scene.js';
import type { RealGuest } from '../support/real-guest.js';
import { runTool } from '../support/run-tool.js';
import { onceIn, TestDaemon } from '../support/test-daemon.js';
import { settingsOf, TestHouse } from '../support/test-house.js';
import { waitFor } from '../support/wait-for.js';

/** Snapshots of a real guest that goes on writing: what was captured in the middle of that is sound, and found to be. */

let house: TestHouse;
let guest: RealGuest;
beforeAll(async () => {
  house = await TestHouse.build();
  guest = await house.boot({ cow: true, disks: [{ sizeMiB: 32 }] });
  // A file that is deleted while it is open: it takes a mount, or a replay, to be rid of it.
  await guest.sh('(exec 9> /ubd1/gone; rm /ubd1/gone; echo held >&9; exec sleep 100000) > /dev/null 2>&1 &');
});
afterAll(() => house.remove());

/** With the backing file of its COW disk. */
const one = (more: Record<string, unknown> = {}) =>
  settingsOf(guest, {
    disks: Object.fromEntries(guest.disks.map(({ device, ...files }) => [device, files])),
    ...more,
  });

async function taken(settings: Record<string, unknown>, ...options: string[]) {
  await house.configure({ one: one(settings) }, { verify: { filesystems: true } });
  const { summary, stderr } = resultOf(await house.run(['snapshot', 'one', '--json', ...options]));
  if (summary.snapshot === null) throw new Error(stderr);
  return { snapshot: summary.snapshot, consistency: summary.consistency };
}

const storeOf = (snapshot: string) => join(house.store, ...snapshot.split('@'));

async function lookOf(snapshot: string) {
  const files = ['manifest.json', 'ubd0.cow', 'ubd1.img'].map((name) => join(storeOf(snapshot), name));
  return await Promise.all(
    files.map(async (path) => {
      const { mtimeNs, ctimeNs, size } = await stat(path, { bigint: true });
      return { path, mtimeNs, ctimeNs, size, sum: (await runTool('sha256sum', [path])).toString() };
    }),
  );
}

const bothSound = [
  { disk: 'ubd0', type: 'ext4', verdict: 'sound' },
  { disk: 'ubd1', type: 'ext4', verdict: 'sound' },
];

describe('of a guest with a COW disk and a raw one', () => {
  test('a snapshot that is synced verifies, filesystems and all, and stays as it is', async () => {
    const { snapshot, consistency } = await taken({});
    expect(consistency).toBe('synced');
    const before = await lookOf(snapshot);
    const { exitCode, json, stderr } = await house.run(['verify', snapshot, '--json']);
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    expect(json.at(-1)).toMatchObject({ status: 'success', snapshot, result: 'ok', filesystems: bothSound });
    expect(await lookOf(snapshot)).toEqual(before);
    expect(await readdir(join(house.store, '.scratch'))).toEqual([]);
  });

  test('so does one that was taken in the middle of heavy writing, as after a power cut', async () => {
    const step =
      'i=$((i + 1)); echo $i >> /ubd1/log; [ $((i % 50)) = 0 ] && mkdir /ubd1/d$i && echo $i > /ubd1/d$i/f';
    await guest.sh(`(i=0; while [ ! -e /tmp/enough ]; do ${step}; done) > /dev/null 2>&1 &`);
    const settings = { require: 'crash', syncTries: 1, settleTimeout: 0 };
    const isCrash = async () => {
      const found = await taken(settings);
      return found.consistency === 'crash' && found;
    };
    const { snapshot } = await waitFor('a snapshot with something dirty', isCrash, { limitMs: 150_000 });
    await guest.sh('touch /tmp/enough');
    const { exitCode, stdout, stderr } = await house.run(['verify', snapshot]);
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    expect(stdout).toContain(
      `${snapshot} (store local) is as it was captured; ubd0: ext4 is sound; ubd1: ext4 is sound.`,
    );
  });

  test('one whose filesystem was bad when it was captured is told from one that is damaged', async () => {
    // Below the guest, which has it in its memory and will not look.
    await guest.sh('sync');
    const features = (await runTool('dumpe2fs', ['-h', guest.disks[1]?.path ?? ''])).toString();
    const block = Number(/^First block: +(\d+)/m.exec(features)?.[1]);
    const table = (await runTool('dumpe2fs', [guest.disks[1]?.path ?? ''])).toString();
    const inodes = Number(/Inode table at (\d+)/.exec(table)?.[1]);
    const blockBytes = Number(/^Block size: +(\d+)/m.exec(features)?.[1]);
    expect(block).toBeLessThan(inodes);
    await withOpen(guest.disks[1]?.path ?? '', 'r+', (file) =>
      // Inode 8 is the journal's own, inode 7 that of resize2fs: neither is written by a guest that merely runs.
      file.write(randomBytes(128), 0, 128, inodes * blockBytes + 6 * 256),
    );
    const { snapshot } = await taken({});
    const { exitCode, json } = await house.run(['verify', snapshot, '--json']);
    expect(exitCode).toBe(1);
    expect(json.at(-1)).toMatchObject({
      ...{ snapshot, result: 'badFilesystem', error: { code: 'FilesystemBad' } },
      filesystems: [
        bothSound[0],
        { disk: 'ubd1', verdict: 'bad', output: expect.stringContaining('ubd1.img') },
      ],
    });
    expect((await house.run(['show', snapshot])).stdout).toMatch(
      /BAD FILESYSTEM: ubd1 \(ext4\)[\s\S]*\n +\| /,
    );
  });
});

test('a daemon verifies on its schedule, beside its backups, and reads each snapshot once', async () => {
  const before = await house.jobs();
  const configure = (schedule: string) =>
    house.configure({ one: one() }, { concurrency: 1, verify: { schedule, timezone: 'UTC', within: '1m' } });
  await configure('0 0 1 1 *');
  const daemon = await TestDaemon.start(house);
  try {
    await configure(onceIn(10));
    await daemon.reload();
    const pattern = /^verify (done|failed)/;
    const summary = await waitFor('a verification', () => daemon.logged(pattern)[0], { limitMs: 120_000 });
    expect(summary).toMatchObject({ kind: 'verify', trigger: 'schedule', guest: null });
    const [job] = (await house.jobs()).filter(({ kind }) => kind === 'verify');
    expect(job).toMatchObject({ trigger: 'schedule', pid: daemon.pid, guest: null });
    expect(before.map(({ job: name }) => name)).not.toContain(job?.job);
    const listed = (await house.listed()).length;
    expect(job?.summary).toMatchObject({ looked: listed, ok: listed - 1, badFilesystem: 1 });
    const verified = await house.withHistory((history) => history.verifications({}));
    expect(verified.map(({ job: by }) => by)).toEqual(Array.from({ length: listed }, () => job?.job));
  } finally {
    await daemon.end();
  }
});
