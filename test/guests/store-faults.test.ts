import { readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startHeld } from '../snapshot/held-job.js';
import {
  expectFailed,
  expectNothingLost,
  expectRuns,
  type Records,
  recordsOf,
  resultOf,
  type Scene,
  setScene,
  ticker,
} from '../snapshot/scene.js';
import {
  canLoopMount,
  type LoopFilesystem,
  mountLoopFilesystem,
  whyNoLoopMount,
} from '../support/loop-filesystem.js';
import { type MconsoleProxy, startMconsoleProxy } from '../support/mconsole-proxy.js';
import { bootGuest, type RealGuest } from '../support/real-guest.js';
import { runTool } from '../support/run-tool.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';

/** A store on a filesystem of its own that fills up, turns read-only or hangs, under a snapshot of a real guest. */

const skipped = whyNoLoopMount('ext4');

describe.skipIf(!canLoopMount('ext4'))(`a store${skipped ? ` (skipped: ${skipped})` : ''}`, () => {
  let dir: string;
  let filesystem: LoopFilesystem;
  let guest: RealGuest;
  let proxy: MconsoleProxy;
  let scene: Scene;
  let before: Records;

  beforeAll(async () => {
    dir = await makeTempDir();
    filesystem = await mountLoopFilesystem({ type: 'ext4', sizeMiB: 128, inodes: 512 });
    guest = await bootGuest({ dir, writer: 'none', fillMiB: 24, rc: ticker });
    proxy = await startMconsoleProxy({ listenPath: join(dir, 'proxy'), guestSocketPath: guest.socketPath });
    scene = await setScene({
      ...{ dir, mconsole: proxy.socketPath, disks: guest.disks },
      stores: { small: filesystem.mountPoint },
      settings: { pauseBudget: '20s', capture: 'copy' },
    });
    expect((await scene.snapshot()).exitCode).toBe(3);
    before = await recordsOf(scene);
  });
  afterAll(async () => {
    await proxy?.close();
    await guest?.kill();
    await filesystem?.remove();
    await removeTempDir(dir);
  });

  const ballast = () => join(filesystem.mountPoint, 'ballast');

  /** Leaves so much room in the store. */
  async function fillTo(leftMiB: number): Promise<void> {
    const free = await freeMiB();
    await runTool('fallocate', ['-l', `${free - leftMiB}M`, ballast()]);
  }

  async function freeMiB(): Promise<number> {
    const text = (await runTool('df', ['--output=avail', '-BM', filesystem.mountPoint])).toString();
    return Number.parseInt(text.split('\n')[1] ?? '', 10);
  }

  async function expectUnharmed(): Promise<void> {
    await expectRuns(guest);
    const after = await expectNothingLost(scene, before);
    expect(after.sound).toEqual(before.sound);
    before = after;
  }

  async function expectRefused(code: string): Promise<string> {
    const stops = (await proxy.events()).filter(({ command }) => command === 'stop').length;
    const summary = expectFailed(await scene.snapshot(), code);
    expect(summary.error?.phase).toBe('preflight');
    expect((await proxy.events()).filter(({ command }) => command === 'stop')).toHaveLength(stops);
    return summary.error?.message ?? '';
  }

  test('with too little room is refused before the guest is stopped', async () => {
    await fillTo(8);
    try {
      expect(await expectRefused('StoreTooFull')).toMatch(/MiB and \d+ inodes free, \d+\.\d MiB are needed/);
    } finally {
      await rm(ballast());
    }
    await expectUnharmed();
  });

  test('that runs full during the copy fails it, and gets its room back (fault 29)', async () => {
    const freeBefore = await freeMiB();
    const job = await startHeld(scene, proxy);
    await fillTo(8);
    const result = await job.end();
    await rm(ballast());
    const summary = expectFailed(result, 'CaptureFailed');
    expect(summary).toMatchObject({ resumed: true, error: { phase: 'capture' } });
    expect(summary.error?.message).toContain('the store has no room left (ENOSPC)');
    await expectUnharmed();
    await waitFor('its room to be back', async () => (await freeMiB()) >= freeBefore - 1);
  });

  test('without inodes is refused before the guest is stopped (fault 30)', async () => {
    const made: string[] = [];
    try {
      for (let n = 0; ; n++) {
        const path = join(filesystem.mountPoint, `inode-${n}`);
        await writeFile(path, '');
        made.push(path);
      }
    } catch (error) {
      expect(error).toMatchObject({ code: 'ENOSPC' });
    }
    try {
      // There is not even one for the directory of the new snapshot.
      expect(await expectRefused('StoreTooFull')).toContain(' 0 inodes free');
    } finally {
      for (const path of made) await rm(path);
    }
    await expectUnharmed();
  });

  test('that is read-only is refused before the guest is stopped (fault 32)', async () => {
    await runTool('mount', ['-o', 'remount,ro', filesystem.mountPoint]);
    try {
      expect(await expectRefused('StoreUnusable')).toMatch(/read-only/i);
      // What lies there can be listed and verified all the same.
      expect((await recordsOf(scene)).sound).toEqual(before.sound);
      expect((await scene.run('verify', 'debian@latest')).exitCode).toBe(0);
    } finally {
      await runTool('mount', ['-o', 'remount,rw', filesystem.mountPoint]);
    }
    await expectUnharmed();
  });

  test('that is not mounted gets nothing written under it, and is told by name (fault 33)', async () => {
    await runTool('umount', [filesystem.mountPoint]);
    try {
      expect(await expectRefused('StoreNotMounted')).toContain('its marker file is not there');
      expect(await readdir(filesystem.mountPoint)).toEqual([]);
      // The history remembers what lies there.
      const listed = await scene.run('list', '--json');
      expect(listed.json.map(({ state }) => state)).toEqual(['unreachable']);
      expect(listed.exitCode).toBe(3);
      // To say that there is no such snapshot would be wrong.
      const verified = await scene.run('verify', 'debian@latest', '--json');
      expect(verified.json).toMatchObject([{ code: 'StoreNotMounted' }]);
      expect(verified.exitCode).toBe(1);
    } finally {
      await runTool('mount', ['-o', 'loop', '-t', 'ext4', filesystem.image, filesystem.mountPoint]);
    }
    await expectUnharmed();
  });

  test('that hangs during the copy does not keep the guest from running at its deadline (fault 34)', async () => {
    const job = await startHeld(scene, proxy, '--budget', '800ms');
    await runTool('fsfreeze', ['-f', filesystem.mountPoint]);
    try {
      const pausesBefore = (await proxy.pauses()).length;
      await job.letGo();
      await waitFor('the guest to be resumed', async () => (await proxy.pauses()).length > pausesBefore);
      const [pausedMs] = (await proxy.pauses()).slice(pausesBefore);
      expect(pausedMs).toBeLessThan(800 + 250);
      // While the store still hangs, and with it all that has to be undone there.
      await expectRuns(guest);
    } finally {
      await runTool('fsfreeze', ['-u', filesystem.mountPoint]);
    }
    const summary = expectFailed(resultOf(await job.cli.exited), 'PauseBudgetExceeded');
    expect(summary).toMatchObject({ resumed: true, error: { phase: 'capture' } });
    await expectUnharmed();
  });
});
