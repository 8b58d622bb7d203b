import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startHeld } from '../support/held-job.js';
import {
  canLoopMount,
  type LoopFilesystem,
  mountLoopFilesystem,
  whyNoLoopMount,
} from '../support/loop-filesystem.js';
import { runTool } from '../support/run-tool.js';
import { expectFailed, expectRuns, resultOf, Scene } from '../support/scene.js';
import { waitFor } from '../support/wait-for.js';

/** A store on a filesystem of its own that fills up, turns read-only or hangs, under a snapshot of a real guest. */

const skipped = whyNoLoopMount('ext4');

describe.skipIf(!canLoopMount('ext4'))(`a store${skipped ? ` (skipped: ${skipped})` : ''}`, () => {
  let filesystem: LoopFilesystem;
  let scene: Scene;

  beforeAll(async () => {
    filesystem = await mountLoopFilesystem({ type: 'ext4', sizeMiB: 96, inodes: 128 });
    const stores = { small: filesystem.mountPoint };
    scene = new Scene({ guest: { fillMiB: 16 }, proxied: true, settings: { capture: 'copy' }, stores });
    await scene.build();
    expect((await scene.snapshot()).exitCode).toBe(3);
    await scene.expectWell();
  });
  afterAll(async () => {
    await scene?.remove();
    await filesystem?.remove();
  });

  const ballast = () => join(filesystem.mountPoint, 'ballast');
  /** Leaves so much room in the store. */
  async function fillTo(leftMiB: number): Promise<void> {
    await runTool('fallocate', ['-l', `${(await freeMiB()) - leftMiB}M`, ballast()]);
  }

  async function freeMiB(): Promise<number> {
    const text = (await runTool('df', ['--output=avail', '-BM', filesystem.mountPoint])).toString();
    return Number.parseInt(text.split('\n')[1] ?? '', 10);
  }

  const stops = async () => (await scene.proxy.events()).filter(({ command }) => command === 'stop').length;

  /** Before the guest is stopped. @returns the message */
  async function expectRefused(code: string): Promise<string> {
    const stopsBefore = await stops();
    const { status, error } = await scene.backup();
    expect({ status, error }).toMatchObject({ status: 'failed', error: { phase: 'preflight', code } });
    expect(await stops()).toBe(stopsBefore);
    return error?.message ?? '';
  }

  test('with too little room is refused before the guest is stopped', async () => {
    await fillTo(8);
    const refused = expectRefused('StoreTooFull').finally(() => rm(ballast()));
    expect(await refused).toMatch(/MiB and \d+ inodes free, \d+\.\d MiB are needed/);
    await scene.expectUnharmed();
  });

  test('without inodes is refused before the guest is stopped (fault 30)', async () => {
    const many = join(filesystem.mountPoint, 'many');
    await mkdir(many);
    const makeAll = async () => {
      for (let n = 0; ; n++) await writeFile(join(many, `${n}`), '');
    };
    await expect(makeAll()).rejects.toMatchObject({ code: 'ENOSPC' });
    const refused = expectRefused('StoreTooFull').finally(() => rm(many, { recursive: true }));
    // There is not even one for the directory of the new snapshot.
    expect(await refused).toContain(' 0 inodes free');
    await scene.expectUnharmed();
  });

  test('that runs full during the copy fails it, and gets its room back (fault 29)', async () => {
    const freeBefore = await freeMiB();
    const job = await startHeld(scene);
    await fillTo(8);
    const summary = expectFailed(await job.end(), 'CaptureFailed');
    await rm(ballast());
    expect(summary).toMatchObject({ resumed: true, error: { phase: 'capture' } });
    expect(summary.error?.message).toContain('the store has no room left (ENOSPC)');
    await scene.expectUnharmed();
    await waitFor('its room to be back', async () => (await freeMiB()) >= freeBefore - 1);
  });

  test('that is read-only is refused before the guest is stopped (fault 32)', async () => {
    await runTool('mount', ['-o', 'remount,ro', filesystem.mountPoint]);
    try {
      expect(await expectRefused('StoreUnusable')).toMatch(/read-only/i);
      // What lies there can be listed and verified all the same.
      expect((await scene.run('verify', 'debian@latest')).exitCode).toBe(0);
    } finally {
      await runTool('mount', ['-o', 'remount,rw', filesystem.mountPoint]);
    }
    await scene.expectUnharmed();
  });

  test('that is not mounted gets nothing written under it, and is told by name (fault 33)', async () => {
    await runTool('umount', [filesystem.mountPoint]);
    try {
      const refused = await scene.snapshot();
      expect(expectFailed(refused, 'StoreNotMounted').error).toMatchObject({
        phase: 'preflight',
        message: expect.stringContaining('its marker file is not there'),
      });
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
    await scene.expectUnharmed();
  });

  test('that hangs during the copy does not keep the guest from running at its deadline (fault 34)', async () => {
    const job = await startHeld(scene, ['--budget', '5s']);
    const pausesBefore = (await scene.proxy.pauses()).length;
    await runTool('fsfreeze', ['-f', filesystem.mountPoint]);
    try {
      await job.letGo();
      // While the store still hangs, and with it all that has to be undone there.
      await waitFor(
        'the guest to be resumed',
        async () => (await scene.proxy.pauses()).length > pausesBefore,
      );
      await expectRuns(scene.guest);
    } finally {
      await runTool('fsfreeze', ['-u', filesystem.mountPoint]);
    }
    const summary = expectFailed(resultOf(await job.cli.exited), 'PauseBudgetExceeded');
    expect(summary).toMatchObject({ resumed: true, error: { phase: 'capture' } });
    await scene.expectUnharmed();
  });
});
