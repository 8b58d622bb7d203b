import { randomBytes } from 'node:crypto';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { sha256sum, withOpen } from '../image/make-image.js';
import { runTool } from '../support/run-tool.js';
import { setScene } from '../support/scene.js';
import { dueAtOnce, TestDaemon } from '../support/test-daemon.js';

/** Snapshots of a real guest that runs on: what was captured in the middle of that is sound, and found to be. */

const scene = setScene({
  ...{ on: 'xfs', guest: { cow: true, disks: [{ sizeMiB: 32 }] } },
  config: { verify: { filesystems: true } },
});

async function taken(): Promise<string> {
  const { summary, stderr } = await scene.snapshot();
  expect(summary, stderr).toMatchObject({ error: null, consistency: 'synced' });
  return String(summary.snapshot);
}

const bothSound = [
  { disk: 'ubd0', type: 'ext4', verdict: 'sound' },
  { disk: 'ubd1', type: 'ext4', verdict: 'sound' },
];

test('a snapshot of a COW disk and a raw one that is synced verifies, filesystems and all, and stays as it is', async () => {
  // A file that is deleted while it is open: it takes a mount, or a replay, to be rid of it.
  const held = 'exec 9> /ubd1/gone; rm /ubd1/gone; echo held >&9; exec sleep 100000';
  await scene.guest.sh(`(${held}) > /dev/null 2>&1 &`);
  const snapshot = await taken();
  const look = async (name: string) => {
    const path = join(scene.directoryOf(snapshot), name);
    const { mtimeNs, ctimeNs, size } = await stat(path, { bigint: true });
    return { mtimeNs, ctimeNs, size, sum: await sha256sum(path) };
  };
  const lookAtAll = () => Promise.all(['manifest.json', 'ubd0.cow', 'ubd1.img'].map(look));
  const before = await lookAtAll();
  const { exitCode, json, stderr } = await scene.run('verify', snapshot, '--json');
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
  expect(json.at(-1)).toMatchObject({ status: 'success', snapshot, result: 'ok', filesystems: bothSound });
  const { stdout } = await scene.run('verify', snapshot);
  expect(stdout).toContain(
    `${snapshot} (store local) is as it was captured; ubd0: ext4 is sound; ubd1: ext4 is sound.`,
  );
  expect(await lookAtAll()).toEqual(before);
  expect(await readdir(join(scene.store, '.scratch'))).toEqual([]);
});

test('one whose filesystem was bad when it was captured is told from one that is damaged', async () => {
  // Below the guest, which has it in its memory and will not look.
  await scene.guest.sh('sync');
  const disk = scene.guest.disks[1]?.path ?? '';
  const table = (await runTool('dumpe2fs', [disk])).toString();
  const figure = (pattern: RegExp) => Number(pattern.exec(table)?.[1]);
  const [inodes, blockBytes] = [figure(/Inode table at (\d+)/), figure(/^Block size: +(\d+)/m)];
  // Inode 8 is the journal's own, inode 7 that of resize2fs: neither is written by a guest that merely runs.
  const at = inodes * blockBytes + 6 * 256;
  expect(at).toBeGreaterThan(0);
  await withOpen(disk, 'r+', (file) => file.write(randomBytes(128), 0, 128, at));
  const snapshot = await taken();
  const { exitCode, json } = await scene.run('verify', snapshot, '--json');
  expect(exitCode).toBe(1);
  const bad = { disk: 'ubd1', verdict: 'bad', output: expect.stringContaining('ubd1.img') };
  expect(json.at(-1)).toMatchObject({
    ...{ snapshot, result: 'badFilesystem', error: { code: 'FilesystemBad' } },
    filesystems: [bothSound[0], bad],
  });
  const shown = /NOT SOUND: a verification in local [\s\S]*BAD FILESYSTEM: ubd1 \(ext4\)[\s\S]*\n +\| /;
  expect((await scene.run('show', snapshot)).stdout).toMatch(shown);
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
