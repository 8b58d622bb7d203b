import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DirectoryStore } from '../../src/store/directory-store.js';
import { isSound } from '../../src/store/stored-snapshots.js';
import { canTrace, withInjected } from '../capture/traced.js';
import { allocatedBytes } from '../image/make-image.js';
import { startHeld } from '../support/held-job.js';
import { e2fsckReplayed, mergeCow, readFileFromImage } from '../support/inspect-image.js';
import { canLoopMount, whyNoLoopMount } from '../support/loop-filesystem.js';
import { withGuest } from '../support/real-guest.js';
import { runTool } from '../support/run-tool.js';
import { expectFailed, expectWhole, setScene } from '../support/scene.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';

/** A guest with a COW root and a raw second disk, on an XFS with reflinks: all in one pause, and back again. */

const skipped = whyNoLoopMount('xfs');
const traceable = await canTrace();
const writer = '(while :; do echo line >> /data/log; nap 0.3; done) &';

describe.skipIf(!canLoopMount('xfs'))(`a guest on XFS${skipped ? ` (skipped: ${skipped})` : ''}`, () => {
  const scene = setScene({
    on: 'xfs',
    guest: { rc: [writer], fillMiB: 16, cow: true, disks: [{ sizeMiB: 32 }] },
    proxied: true,
    // Of a guest that writes some are in vain where the host is busy.
    settings: { syncTries: 100 },
  });
  /** On another filesystem. */
  let far: string;
  beforeAll(async () => {
    far = await makeTempDir();
  });
  afterAll(() => removeTempDir(far));

  test('is captured by reflink, all of its disks in the same pause, with no warning', async () => {
    await scene.guest.sh('echo one > /data/proof; echo two > /ubd1/proof');
    const { exitCode, summary, stderr } = await scene.snapshot('--label', 'why=test');
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    const said = { status: 'success', method: 'reflink', consistency: 'synced', dirtyKib: 0 };
    expect(summary).toMatchObject(said);
    expect(await scene.proxy.pauses()).toHaveLength(Number(summary.tries));
    expect(await scene.listed()).toMatchObject([
      {
        manifest: {
          labels: { why: 'test' },
          disks: [
            { device: 'ubd0', kind: 'cow', file: 'ubd0.cow' },
            { device: 'ubd1', kind: 'raw', file: 'ubd1.img' },
          ],
        },
      },
    ]);
    await scene.expectWell();
  });

  test('comes back as a pair that UML takes, sound and with what was written to either disk', async () => {
    const to = scene.path('back');
    const { exitCode, stderr } = await scene.run('restore', 'debian@latest', '--to', to);
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    const [root] = scene.guest.disks;
    const [cow, backing, second] = [join(to, 'ubd0.cow'), join(to, 'root.img'), join(to, 'ubd1.img')];
    await mergeCow(cow, backing, scene.path('merged.img'));
    expect(await e2fsckReplayed(scene.path('merged.img'))).toMatchObject({ clean: true });
    expect((await readFileFromImage(second, '/proof'))?.toString()).toBe('two\n');
    // The backing file is the one that was captured, to the byte, its holes still holes.
    await runTool('cmp', [backing, root?.backing ?? '']);
    const allocated = await allocatedBytes(root?.backing ?? '');
    expect(await allocatedBytes(backing)).toBeLessThan(1.1 * allocated + 2 ** 20);
    const existingDisks = [
      { device: 'ubd0', path: cow, backing },
      { device: 'ubd1', path: second },
    ];
    await withGuest({ dir: scene.dir, existingDisks }, async (again) => {
      await again.sh('mkdir -p /ubd1; mount /dev/ubdb /ubd1');
      expect(await again.sh('cat /data/proof /ubd1/proof')).toBe('one\ntwo');
    });
  });

  test('is copied while it runs to a store on another filesystem, and the reason is told', async () => {
    const stores = { local: { type: 'directory', path: scene.store }, far: { type: 'directory', path: far } };
    const { summary } = await (await scene.variant({}, { stores })).snapshot('--store', 'far');
    expect(summary).toMatchObject({ error: null, method: 'precopy', consistency: 'synced' });
    expect(summary.reason).toMatch(/^no reflink is possible \(ubd0: .*different file systems/);
    const [copied] = await new DirectoryStore({ name: 'far', path: far }).list();
    if (!copied || !isSound(copied)) expect.fail('the store on the other filesystem has no snapshot');
    await expectWhole(far, copied);
    expect(await e2fsckReplayed(join(copied.directory, 'ubd1.img'))).toMatchObject({ clean: true });
    await scene.expectUnharmed();
  });

  test('keeps a backing file once, however many snapshots have it', async () => {
    const second = await scene.snapshot();
    expect(second.summary.error).toBeNull();
    const kept = await runTool('find', [scene.path('store/.backing'), '-name', '*.img']);
    expect(kept.toString().trim().split('\n')).toHaveLength(1);
    const cow = join(scene.directoryOf(second.summary.snapshot), 'ubd0.cow');
    expect(await allocatedBytes(cow)).toBeLessThan(16 * 2 ** 20);
    await scene.expectWell();
  });

  test.skipIf(!traceable)(
    'whose reflink fails after all is let go at once, and nothing is left of it (fault 22)',
    async () => {
      const job = await startHeld(scene);
      const result = await withInjected(job.captureChild, ['ioctl:error=EOPNOTSUPP'], () => job.end());
      const summary = expectFailed(result, 'CaptureFailed');
      expect(summary).toMatchObject({ resumed: true, error: { phase: 'capture' } });
      expect(summary.error?.message).toContain('has no reflinks');
      await scene.expectUnharmed();
    },
  );
});
