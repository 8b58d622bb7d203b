import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { canTrace, withInjected } from '../capture/traced.js';
import { allocatedBytes } from '../image/make-image.js';
import { startHeld } from '../snapshot/held-job.js';
import {
  expectFailed,
  expectNothingLost,
  expectRuns,
  type Records,
  recordsOf,
  type Scene,
  setScene,
  ticker,
} from '../snapshot/scene.js';
import type { GuestDisk } from '../support/guest-disks.js';
import { e2fsckReplayed, mergeCow, readFileFromImage } from '../support/inspect-image.js';
import {
  canLoopMount,
  type LoopFilesystem,
  mountLoopFilesystem,
  whyNoLoopMount,
} from '../support/loop-filesystem.js';
import { type MconsoleProxy, startMconsoleProxy } from '../support/mconsole-proxy.js';
import { bootGuest, type RealGuest, withGuest } from '../support/real-guest.js';
import { runTool } from '../support/run-tool.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';

/** A guest with a COW root and a raw second disk, on an XFS with reflinks: all in one pause, and back again. */

const skipped = whyNoLoopMount('xfs');
const traceable = await canTrace();

describe.skipIf(!canLoopMount('xfs'))(`a guest on XFS${skipped ? ` (skipped: ${skipped})` : ''}`, () => {
  let dir: string;
  let xfs: LoopFilesystem;
  let guest: RealGuest;
  let proxy: MconsoleProxy;
  let scene: Scene;
  let before: Records;

  beforeAll(async () => {
    dir = await makeTempDir();
    xfs = await mountLoopFilesystem({ type: 'xfs', sizeMiB: 1024 });
    guest = await bootGuest({
      ...{ dir, disksDir: xfs.mountPoint, writer: 'lines', rc: ticker },
      ...{ fillMiB: 32, cow: true, disks: [{ sizeMiB: 32 }] },
    });
    proxy = await startMconsoleProxy({ listenPath: join(dir, 'proxy'), guestSocketPath: guest.socketPath });
    const far = await mkdirIn(dir, 'far');
    scene = await setScene({
      ...{ dir, mconsole: proxy.socketPath, disks: guest.disks },
      stores: { near: join(xfs.mountPoint, 'store'), far },
      settings: { pauseBudget: '20s' },
    });
    before = await recordsOf(scene);
  });
  afterAll(async () => {
    await proxy?.close();
    await guest?.kill();
    await xfs?.remove();
    await removeTempDir(dir);
  });

  async function restored(snapshot: string | null, name: string): Promise<string> {
    const to = join(dir, name);
    const { exitCode, stderr } = await scene.run('restore', snapshot ?? '', '--to', to);
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    return to;
  }

  test('is captured by reflink, all of its disks in the same pause, with no warning', async () => {
    await guest.sh('echo one > /data/proof; echo two > /ubd1/proof');
    const pausesBefore = (await proxy.pauses()).length;
    const { exitCode, summary, stderr } = await scene.snapshot('--label', 'why=test');
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    expect(summary).toMatchObject({
      status: 'success',
      method: 'reflink',
      consistency: 'synced',
      dirtyKib: 0,
    });
    expect((await proxy.pauses()).length - pausesBefore).toBe(summary.tries);
    await expectRuns(guest);
    before = await expectNothingLost(scene, before);

    const shown = (await scene.run('show', summary.snapshot ?? '', '--json')).json[0];
    expect(shown).toMatchObject({
      labels: { why: 'test' },
      disks: [
        { device: 'ubd0', kind: 'cow', file: 'ubd0.cow' },
        { device: 'ubd1', kind: 'raw', file: 'ubd1.img' },
      ],
    });
  });

  test('comes back as a pair that UML takes, sound and with what was written to either disk', async () => {
    const to = await restored('debian@latest', 'back');
    const [root, data] = guest.disks;
    const backing = join(to, 'root.img');
    const merged = join(dir, 'merged.img');
    await mergeCow(join(to, 'ubd0.cow'), backing, merged);
    expect(await e2fsckReplayed(merged)).toMatchObject({ clean: true });
    expect((await readFileFromImage(merged, '/data/proof'))?.toString()).toBe('one\n');
    expect((await readFileFromImage(join(to, 'ubd1.img'), '/proof'))?.toString()).toBe('two\n');
    // The backing file is the one that was captured, to the byte, its holes still holes.
    await runTool('cmp', [backing, root?.backing ?? '']);
    expect(await allocatedBytes(backing)).toBeLessThan(
      1.1 * (await allocatedBytes(root?.backing ?? '')) + 2 ** 20,
    );
    const disks: GuestDisk[] = [
      { device: 'ubd0', path: join(to, 'ubd0.cow'), backing },
      { device: data?.device ?? '', path: join(to, 'ubd1.img') },
    ];
    await withGuest({ dir, existingDisks: disks }, async (again) => {
      expect(await again.sh('cat /data/proof')).toBe('one');
      await again.sh('mkdir -p /ubd1; mount /dev/ubdb /ubd1');
      expect(await again.sh('cat /ubd1/proof')).toBe('two');
    });
  });

  test('is copied while the guest runs to a store on another filesystem, and the reason is told', async () => {
    const { summary } = await scene.snapshot('--store', 'far');
    expect(summary).toMatchObject({ error: null, method: 'precopy', consistency: 'synced' });
    expect(summary.reason).toMatch(/^no reflink is possible \(ubd0: .*different file systems/);
    const to = await restored(summary.snapshot, 'from-far');
    expect(await e2fsckReplayed(join(to, 'ubd1.img'))).toMatchObject({ clean: true });
    await expectRuns(guest);
    before = await expectNothingLost(scene, before);
  });

  test('keeps a backing file once, however many snapshots have it', async () => {
    const second = await scene.snapshot();
    expect(second.summary.error).toBeNull();
    const kept = await runTool('find', [join(scene.store, '.backing'), '-name', '*.img']);
    expect(kept.toString().trim().split('\n')).toHaveLength(1);
    expect(
      await allocatedBytes(
        join(scene.store, 'debian', `${second.summary.snapshot?.split('@')[1]}`, 'ubd0.cow'),
      ),
    ).toBeLessThan(16 * 2 ** 20);
    before = await expectNothingLost(scene, before);
  });

  test.skipIf(!traceable)(
    'whose reflink fails after all is let go at once, and nothing is left of it (fault 22)',
    async () => {
      const job = await startHeld(scene, proxy);
      const result = await withInjected(job.captureChild, ['ioctl:error=EOPNOTSUPP'], () => job.end());
      const summary = expectFailed(result, 'CaptureFailed');
      expect(summary).toMatchObject({ resumed: true, error: { phase: 'capture' } });
      expect(summary.error?.message).toContain('has no reflinks');
      await expectRuns(guest);
      before = await expectNothingLost(scene, before);
    },
  );
});

async function mkdirIn(dir: string, name: string): Promise<string> {
  await mkdir(join(dir, name));
  return join(dir, name);
}
