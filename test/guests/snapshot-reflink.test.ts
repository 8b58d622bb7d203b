import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { DirectoryStore } from '../../src/store/directory-store.js';
import { isSound } from '../../src/store/stored-snapshots.js';
import { allocatedBytes } from '../image/make-image.js';
import { e2fsckReplayed, mergeCow, readFileFromImage } from '../support/inspect-image.js';
import { whyNoLoopMount } from '../support/loop-filesystem.js';
import { withGuest } from '../support/real-guest.js';
import { runTool } from '../support/run-tool.js';
import { expectWhole, setScene } from '../support/scene.js';
import { withTempDir } from '../support/temp-dir.js';

/** A guest with a COW root and a raw second disk, on an XFS with reflinks: all in one pause, and back again. */

const skipped = whyNoLoopMount('xfs');
const writer = '(while :; do echo line >> /data/log; nap 0.3; done) &';

describe.skipIf(skipped !== undefined)(`a guest on XFS${skipped ? ` (skipped: ${skipped})` : ''}`, () => {
  const scene = setScene({
    on: 'xfs',
    guest: { rc: [writer], fillMiB: 16, cow: true, disks: [{ sizeMiB: 32 }] },
    proxied: true,
    // Of a guest that writes some are in vain where the host is busy.
    settings: { syncTries: 100 },
  });
  test('is captured by reflink, all of its disks in the same pause, with no warning', async () => {
    await scene.guest.sh('echo one > /data/proof; echo two > /ubd1/proof');
    const { exitCode, summary, stderr } = await scene.snapshot('--label', 'why=test');
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    expect(summary).toMatchObject({
      ...{ status: 'success', method: 'reflink', consistency: 'synced', dirtyKib: 0 },
    });
    expect(await scene.proxy.pauses()).toHaveLength(Number(summary.tries));
    const disks = [
      { device: 'ubd0', kind: 'cow', file: 'ubd0.cow' },
      { device: 'ubd1', kind: 'raw', file: 'ubd1.img' },
    ];
    expect(await scene.listed()).toMatchObject([{ manifest: { labels: { why: 'test' }, disks } }]);
    await scene.expectWell();
  });

  test('comes back as a pair that UML takes, sound and with what was written to either disk', async () => {
    const to = scene.path('back');
    const { exitCode, stderr } = await scene.run('restore', 'debian@latest', '--to', to);
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    const captured = scene.guest.disks[0]?.backing ?? '';
    const [cow, backing, second] = [join(to, 'ubd0.cow'), join(to, 'root.img'), join(to, 'ubd1.img')];
    await mergeCow(cow, backing, scene.path('merged.img'));
    expect(await e2fsckReplayed(scene.path('merged.img'))).toMatchObject({ clean: true });
    expect((await readFileFromImage(second, '/proof'))?.toString()).toBe('two\n');
    // The backing file is the one that was captured, to the byte, its holes still holes.
    await runTool('cmp', [backing, captured]);
    expect(await allocatedBytes(backing)).toBeLessThan(1.1 * (await allocatedBytes(captured)) + 2 ** 20);
    const existingDisks = [
      { device: 'ubd0', path: cow, backing },
      { device: 'ubd1', path: second },
    ];
    await withGuest({ dir: scene.dir, existingDisks }, async (again) => {
      await again.sh('mkdir -p /ubd1; mount /dev/ubdb /ubd1');
      expect(await again.sh('cat /data/proof /ubd1/proof')).toBe('one\ntwo');
    });
  });

  test('is copied while it runs to a store on another filesystem, and the reason is told', () =>
    withTempDir(async (far) => {
      const stores = {
        local: { type: 'directory', path: scene.store },
        far: { type: 'directory', path: far },
      };
      const { summary } = await (await scene.variant({}, { stores })).snapshot('--store', 'far');
      expect(summary).toMatchObject({ error: null, method: 'precopy', consistency: 'synced' });
      expect(summary.reason).toMatch(/^no reflink is possible \(ubd0: .*different file systems/);
      const [copied] = await new DirectoryStore({ name: 'far', path: far }).list();
      if (!copied || !isSound(copied)) expect.fail('the store on the other filesystem has no snapshot');
      await expectWhole(far, copied);
      expect(await e2fsckReplayed(join(copied.directory, 'ubd1.img'))).toMatchObject({ clean: true });
      await scene.expectUnharmed();
    }));
});
