import { join } from 'node:path';
import { expect, test } from 'vitest';
import { startHeld } from '../support/held-job.js';
import { e2fsckReplayed, readFileFromImage } from '../support/inspect-image.js';
import type { ProxyEvent } from '../support/mconsole-proxy-messages.js';
import { expectFailed, setScene } from '../support/scene.js';
import { waitFor } from '../support/wait-for.js';

/** The command line on a guest that goes on writing; a proxy before its console sees what it is told and when. */

const scene = setScene({
  guest: { writer: 'lines', fillMiB: 16, disks: [{ sizeMiB: 16 }] },
  proxied: true,
  // Of its tries some are in vain where the host is busy.
  settings: { capture: 'copy', syncTries: 100 },
});

const imageOf = (snapshot: string | null) => join(scene.directoryOf(snapshot), 'ubd0.img');
test('a snapshot of a guest that writes is sound, with every line written before it, and the file that the documented order loses', async () => {
  const { guest, proxy } = scene;
  await guest.sh('echo 0 > /proc/sys/vm/dirty_writeback_centisecs; mount -o remount,commit=3600 /; sync');
  const lastLine = async () => Number((await guest.sh('tail -n 1 /data/log')).replace('line ', ''));
  const written = await waitFor('30 lines', async () => (await lastLine()) >= 30 && (await lastLine()));
  await guest.sh('seq 1 20000 > /data/precious');
  const { exitCode, summary } = await scene.snapshot();
  // A copy that is the pause is worth a warning.
  expect(summary).toMatchObject({ status: 'warning', consistency: 'synced', dirtyKib: 0, error: null });
  expect(exitCode).toBe(3);

  const image = imageOf(summary.snapshot);
  expect(await e2fsckReplayed(image)).toMatchObject({ clean: true });
  const precious = (await readFileFromImage(image, '/data/precious'))?.toString();
  expect(precious).toBe(`${await guest.sh('cat /data/precious')}\n`);
  const lines = (await readFileFromImage(image, '/data/log'))?.toString().trimEnd().split('\n') ?? [];
  expect(lines).toEqual(lines.map((_, index) => `line ${index + 1}`));
  expect(lines.length).toBeGreaterThanOrEqual(written);

  const events = await proxy.events();
  expect(await proxy.pauses()).toHaveLength(Number(summary.tries));
  const { leastMs, mostMs } = lastPauseSeen(events);
  expect(leastMs).toBeGreaterThan(0);
  expect(summary.pausedMs).toBeGreaterThanOrEqual(leastMs);
  expect(summary.pausedMs).toBeLessThanOrEqual(mostMs);
  await guest.sh('echo 500 > /proc/sys/vm/dirty_writeback_centisecs; mount -o remount,commit=5 /');
  await scene.expectWell();
});

/**
 * What a witness before the console knows of how long the job has seen its last pause, however late either of them was heard: it
 * asked the guest something once it knew of the stop, and again once it knew of the go, which no further `go` proves.
 */
function lastPauseSeen(events: ProxyEvent[]): { leastMs: number; mostMs: number } {
  const answered = (command: string) =>
    events.findLastIndex((event) => event.command === command && event.what === 'answer' && event.err === 0);
  const timeOf = (event: ProxyEvent | undefined) => event?.atMs ?? Number.NaN;
  const nextRequest = (after: number) =>
    events.find(({ what, command }, n) => n > after && what === 'request' && command !== 'go');
  const [stop, go] = [answered('stop'), answered('go')];
  return {
    leastMs: timeOf(events[go]) - timeOf(nextRequest(stop)),
    mostMs: timeOf(nextRequest(go)) - timeOf(events[stop]),
  };
}

test('a guest that never stops to write has a good backup by the defaults, with a note of its level and the cure, and none where more is required', async () => {
  await scene.guest.sh('umount /ubd1');
  const commands = await scene.variant({ syncTries: 2, settleTimeout: '300ms' });
  const floodedJob = async (...options: string[]) => {
    // Before its sync: all that comes before that would only be slower.
    const job = await startHeld(scene, options, commands);
    await startFlood();
    return await job.end().finally(() => scene.guest.sh('kill $(cat /tmp/flood)'));
  };
  const refused = expectFailed(await floodedJob('--require', 'synced'), 'ConsistencyTooWeak');
  expect(refused.error?.message).toMatch(
    /\d+ KiB not on disk \(it wrote to .*ubd1 since its sync\).*`synced` is required.*`umlsnap agent`/,
  );
  expect(refused).toMatchObject({ resumed: true });
  await scene.expectUnharmed();

  const { summary } = await floodedJob();
  expect(summary).toMatchObject({ consistency: 'crash', error: null });
  expect(summary.dirtyKib).toBeGreaterThan(0);
  expect(summary.note).toMatch(
    new RegExp(`${summary.dirtyKib} KiB not on disk \\(it wrote to .*ubd1 since.*\`umlsnap agent\``),
  );
  expect(summary.warnings.join('\n')).not.toContain('KiB');
  const image = imageOf(summary.snapshot);
  expect(await e2fsckReplayed(image)).toMatchObject({ clean: true });
  const lines = (await readFileFromImage(image, '/data/appended'))?.toString().split('\n') ?? [];
  expect(lines.slice(0, -1)).toEqual(lines.slice(0, -1).map((_, index) => `line ${index + 1}`));
  const asRequired = await commands.snapshot('--dry-run', '--require', 'synced');
  expect(asRequired).toMatchObject({
    exitCode: 3,
    summary: {
      expected: { level: 'crash', text: expect.stringContaining('`crash` in 2') },
      warnings: expect.arrayContaining([expect.stringContaining('`synced` is required')]),
    },
  });
  await scene.expectWell();
});

/**
 * Has the guest write without a gap in which it would look clean: a device over and over, much more of it than goes to the disk in the
 * moment in which another of its processes has the CPU. Not a file, which would wait for its journal; held open, for the last one to
 * close a device writes all of it; and never throttled, for a writer that sleeps dirties nothing. Another one appends to a file.
 */
async function startFlood(): Promise<void> {
  const { guest } = scene;
  await guest.sh('echo 95 > /proc/sys/vm/dirty_ratio; echo 90 > /proc/sys/vm/dirty_background_ratio');
  const program =
    'while :; do dd if=/dev/zero of=/dev/ubdb bs=64k count=256 conv=notrunc; done 3<> /dev/ubdb';
  await guest.sh(`sh -c '${program}' > /dev/null 2>&1 & echo $! > /tmp/flood`);
  const append =
    'rm -f /data/appended; i=0; while :; do i=$((i + 1)); echo "line $i" >> /data/appended; done';
  await guest.sh(`sh -c '${append}' > /dev/null 2>&1 & echo $! >> /tmp/flood`);
  const dirtyPages = async () => Number(await guest.sh("awk '/^nr_dirty / { print $2 }' /proc/vmstat"));
  await waitFor('2000 dirty pages', async () => (await dirtyPages()) > 2_000);
}
