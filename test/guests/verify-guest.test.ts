import { randomBytes } from 'node:crypto';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { sha256sum, withOpen } from '../image/make-image.js';
import { runTool } from '../support/run-tool.js';
import { setScene } from '../support/scene.js';
import { dueAtOnce, TestDaemon } from '../support/test-daemon.js';
import { waitFor } from '../support/wait-for.js';

/** Snapshots of a real guest that goes on writing: what was captured in the middle of that is sound, and found to be. */

const scene = setScene({
  ...{ on: 'xfs', guest: { cow: true, disks: [{ sizeMiB: 32 }] } },
  config: { verify: { filesystems: true } },
});
beforeAll(async () => {
  // A file that is deleted while it is open: it takes a mount, or a replay, to be rid of it.
  const held = 'exec 9> /ubd1/gone; rm /ubd1/gone; echo held >&9; exec sleep 100000';
  await scene.guest.sh(`(${held}) > /dev/null 2>&1 &`);
});

async function taken(settings: Record<string, unknown> = {}) {
  const { summary, stderr } = await (await scene.variant(settings)).snapshot();
  if (summary.snapshot === null) throw new Error(stderr);
  return { snapshot: summary.snapshot, consistency: summary.consistency };
}

function lookOf(snapshot: string) {
  const files = ['manifest.json', 'ubd0.cow', 'ubd1.img'];
  return Promise.all(
    files.map(async (name) => {
      const path = join(scene.directoryOf(snapshot), name);
      const { mtimeNs, ctimeNs, size } = await stat(path, { bigint: true });
      return { path, mtimeNs, ctimeNs, size, sum: await sha256sum(path) };
    }),
  );
}

const bothSound = [
  { disk: 'ubd0', type: 'ext4', verdict: 'sound' },
  { disk: 'ubd1', type: 'ext4', verdict: 'sound' },
];

test('a snapshot of a COW disk and a raw one that is synced verifies, filesystems and all, and stays as it is', async () => {
  const { snapshot, consistency } = await taken();
  expect(consistency).toBe('synced');
  const before = await lookOf(snapshot);
  const { exitCode, json, stderr } = await scene.run('verify', snapshot, '--json');
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
  expect(json.at(-1)).toMatchObject({ status: 'success', snapshot, result: 'ok', filesystems: bothSound });
  expect(await lookOf(snapshot)).toEqual(before);
  expect(await readdir(join(scene.store, '.scratch'))).toEqual([]);
});

test('so does one that was taken in the middle of heavy writing, as after a power cut', async () => {
  const step =
    'i=$((i + 1)); echo $i >> /ubd1/log; [ $((i % 50)) = 0 ] && mkdir /ubd1/d$i && echo $i > /ubd1/d$i/f';
  await scene.guest.sh(`(i=0; while [ ! -e /tmp/enough ]; do ${step}; done) > /dev/null 2>&1 &`);
  const isCrash = async () => {
    const found = await taken({ require: 'crash', syncTries: 1, settleTimeout: 0 });
    return found.consistency === 'crash' && found;
  };
  const { snapshot } = await waitFor('a snapshot with something dirty', isCrash, { limitMs: 150_000 });
  await scene.guest.sh('touch /tmp/enough');
  const { exitCode, stdout, stderr } = await scene.run('verify', snapshot);
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
  expect(stdout).toContain(
    `${snapshot} (store local) is as it was captured; ubd0: ext4 is sound; ubd1: ext4 is sound.`,
  );
});

test('one whose filesystem was bad when it was captured is told from one that is damaged', async () => {
  // Below the guest, which has it in its memory and will not look.
  await scene.guest.sh('sync');
  const disk = scene.guest.disks[1]?.path ?? '';
  const table = (await runTool('dumpe2fs', [disk])).toString();
  const [block, inodes, blockBytes] = [
    ...[/^First block: +(\d+)/m, /Inode table at (\d+)/, /^Block size: +(\d+)/m],
  ].map((pattern) => Number(pattern.exec(table)?.[1])) as [number, number, number];
  expect(block).toBeLessThan(inodes);
  await withOpen(disk, 'r+', (file) =>
    // Inode 8 is the journal's own, inode 7 that of resize2fs: neither is written by a guest that merely runs.
    file.write(randomBytes(128), 0, 128, inodes * blockBytes + 6 * 256),
  );
  const { snapshot } = await taken();
  const { exitCode, json } = await scene.run('verify', snapshot, '--json');
  expect(exitCode).toBe(1);
  const bad = { disk: 'ubd1', verdict: 'bad', output: expect.stringContaining('ubd1.img') };
  expect(json.at(-1)).toMatchObject({
    ...{ snapshot, result: 'badFilesystem', error: { code: 'FilesystemBad' } },
    filesystems: [bothSound[0], bad],
  });
  expect((await scene.run('show', snapshot)).stdout).toMatch(/BAD FILESYSTEM: ubd1 \(ext4\)[\s\S]*\n +\| /);
});

test('a daemon verifies on its schedule, beside its backups, and reads each snapshot once', async () => {
  const schedule = await dueAtOnce(scene, ':verify');
  await scene.configure(undefined, { concurrency: 1, verify: { schedule, timezone: 'UTC', within: '1m' } });
  const daemon = await TestDaemon.start(scene);
  const summary = await daemon.untilLogged(/^verify (done|failed)/);
  expect(summary).toMatchObject({ kind: 'verify', trigger: 'schedule', guest: null });
  await daemon.end();
  const job = await scene.newestJob();
  expect(job).toMatchObject({ kind: 'verify', trigger: 'schedule', pid: daemon.pid, guest: null });
  const listed = (await scene.listed()).length;
  expect(job.summary).toMatchObject({ looked: listed, ok: listed - 1, badFilesystem: 1 });
  const verified = await scene.withHistory((history) => history.verifications({}));
  expect(verified.map(({ job: by }) => by)).toEqual(Array.from({ length: listed }, () => job.job));
  await scene.expectWell();
});
