import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { e2fsckReplayed, readFileFromImage } from '../support/inspect-image.js';
import { bootGuest, type RealGuest } from '../support/real-guest.js';
import { runTool } from '../support/run-tool.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';

/** Design §1 on a real guest, with nothing of our own but the harness: the commands go through `uml_mconsole`. */

let dir: string;
let guest: RealGuest;

beforeAll(async () => {
  dir = await makeTempDir();
  guest = await bootGuest({ dir, writer: 'none' });
  // The guest's own write-back and journal commits MUST NOT come between the write and the stop, or luck decides.
  await guest.sh('echo 0 > /proc/sys/vm/dirty_writeback_centisecs');
  await guest.sh('echo 360000 > /proc/sys/vm/dirty_expire_centisecs');
  await guest.sh('mount -o remount,commit=3600 /; sync');
});
afterAll(async () => {
  await guest.kill();
  await removeTempDir(dir);
});

/** Writes the file in the guest and gives what it holds. */
async function writePrecious(path: string): Promise<string> {
  await guest.sh(`seq 1 20000 > ${path}`);
  return `${await guest.sh(`cat ${path}`)}\n`;
}

async function stopSyncCopyGo(copy: string): Promise<void> {
  expect(await guest.mconsole('stop')).toBe('stopped');
  expect(await guest.mconsole('sysrq s')).toMatch(/Emergency Sync/);
  await runTool('cp', ['--sparse=always', guest.diskPath, copy]);
  await guest.mconsole('go');
}

async function dirtyPages(): Promise<number> {
  const vmstat = await guest.mconsole('proc vmstat');
  const pages = (name: string) => Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(vmstat)?.[1] ?? Number.NaN);
  return pages('nr_dirty') + pages('nr_writeback');
}

describe('the documented recipe', () => {
  test('stop, sysrq s, copy, go loses a file written before the stop, and answers OK all the same', async () => {
    const written = await writePrecious('/data/lost');
    expect(written).toHaveLength(108_894);
    const copy = `${dir}/documented.img`;
    await stopSyncCopyGo(copy);

    const inCopy = await readFileFromImage(copy, '/data/lost');
    // Absent, empty, or zeros: whichever, not a byte of what was written.
    expect((inCopy ?? Buffer.alloc(0)).every((byte) => byte === 0)).toBe(true);
    expect(await e2fsckReplayed(copy)).toMatchObject({ clean: true });
  });

  test('the sync that was asked for while stopped is done after go', async () => {
    await waitFor('the queued sync', async () => /Emergency Sync complete/.test(await guest.console()));
  });

  test('sysrq s and settling before the stop keep the file', async () => {
    const written = await writePrecious('/data/kept');
    expect(await dirtyPages()).toBeGreaterThan(0);
    // A sysrq s only starts the journal's commit, which leaves some pages dirty for the next one.
    await waitFor(
      'the guest to have nothing dirty',
      async () => {
        await guest.mconsole('sysrq s');
        return (await dirtyPages()) === 0;
      },
      { everyMs: 200 },
    );
    const copy = `${dir}/synced.img`;
    await stopSyncCopyGo(copy);

    const inCopy = await readFileFromImage(copy, '/data/kept');
    expect(inCopy?.toString()).toBe(written);
    expect(await e2fsckReplayed(copy)).toMatchObject({ clean: true });
  });
});
