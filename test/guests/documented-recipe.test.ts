import { expect, test } from 'vitest';
import { e2fsckReplayed, readFileFromImage } from '../support/inspect-image.js';
import { runTool } from '../support/run-tool.js';
import { setScene } from '../support/scene.js';
import { waitFor } from '../support/wait-for.js';

/** Design §1 on a real guest, with nothing of our own but the harness: the commands go through `uml_mconsole`. */

// The guest's own write-back and journal commits MUST NOT come between the write and the stop, or luck decides.
const noWriteBack = [
  'echo 0 > /proc/sys/vm/dirty_writeback_centisecs',
  'echo 360000 > /proc/sys/vm/dirty_expire_centisecs',
  'mount -o remount,commit=3600 /; sync',
];
const scene = setScene({ guest: { rc: noWriteBack } });

/** @returns what the copy, which is sound, has of a file */
async function stopSyncCopyGo(file: string): Promise<Buffer | undefined> {
  const { guest } = scene;
  const copy = scene.path('copy.img');
  expect(await guest.mconsole('stop')).toBe('stopped');
  expect(await guest.mconsole('sysrq s')).toMatch(/Emergency Sync/);
  await runTool('cp', ['--sparse=always', guest.diskPath, copy]);
  await guest.mconsole('go');
  expect(await e2fsckReplayed(copy)).toMatchObject({ clean: true });
  return await readFileFromImage(copy, file);
}

async function dirtyPages(): Promise<number> {
  const vmstat = await scene.guest.mconsole('proc vmstat');
  const pages = (name: string) => Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(vmstat)?.[1] ?? Number.NaN);
  return pages('nr_dirty') + pages('nr_writeback');
}

test('stop, sysrq s, copy, go loses a file written before the stop, answers OK all the same, and syncs after the go', async () => {
  await scene.guest.sh('seq 1 20000 > /data/lost');
  const inCopy = await stopSyncCopyGo('/data/lost');
  // Absent, empty, or zeros: whichever, not a byte of what was written.
  expect((inCopy ?? Buffer.alloc(0)).every((byte) => byte === 0)).toBe(true);
  await scene.guest.waitForConsole(/Emergency Sync complete/);
});

test('sysrq s and settling before the stop keep the file', async () => {
  const written = await scene.guest.sh('seq 1 20000 > /data/kept; cat /data/kept');
  expect(await dirtyPages()).toBeGreaterThan(0);
  // A sysrq s only starts the journal's commit, which leaves some pages dirty for the next one.
  const settled = async () => {
    await scene.guest.mconsole('sysrq s');
    return (await dirtyPages()) === 0;
  };
  await waitFor('the guest to have nothing dirty', settled, { everyMs: 200 });
  expect(`${await stopSyncCopyGo('/data/kept')}`).toBe(`${written}\n`);
});
