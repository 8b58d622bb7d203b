import { open, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { formatManifest, parseManifest, sealManifest } from '../../src/store/manifest.js';
import { allocatedBytes, sha256sum } from '../image/make-image.js';
import { withGuest } from '../support/real-guest.js';
import { runTool } from '../support/run-tool.js';
import { setScene } from '../support/scene.js';
import { waitFor } from '../support/wait-for.js';

/** Restores by the command line of a real guest's snapshot: while it runs, after it is halted, and cut short. */

const scene = setScene({ guest: { cow: true }, settings: { capture: 'copy' } });
let snapshot: string;
let storedImage: string;

beforeAll(async () => {
  // Into the COW file, so that it takes its time to be restored.
  await scene.guest.sh('dd if=/dev/urandom of=/data/mine bs=1M count=24; echo then > /data/proof; sync');
  const { summary } = await scene.snapshot();
  expect(summary).toMatchObject({ error: null, consistency: 'synced' });
  snapshot = summary.snapshot ?? '';
  storedImage = join(scene.directoryOf(snapshot), 'ubd0.cow');
  await scene.guest.sh('echo now > /data/proof; sync');
  await scene.expectWell();
});

async function jsonOf(...args: string[]) {
  const { exitCode, json, stderr } = await scene.run(...args, '--json');
  const summary = json.find(({ type }) => type === 'summary') as Record<string, unknown> | undefined;
  return { exitCode, summary, stderr, error: summary?.error as { code: string; message: string } | null };
}

/** What a restore cut short has left beside the disk. */
async function leftovers(): Promise<string[]> {
  const { diskPath } = scene.guest;
  const beside = await readdir(join(diskPath, '..'));
  return beside.filter((name) => name.startsWith(`${basename(diskPath)}.`));
}

test('into a directory gives what was captured, to the byte and with its holes, and leaves what exists there as it is', async () => {
  const to = scene.path('there');
  const { exitCode, summary } = await jsonOf('restore', 'debian@latest', '--to', to);
  expect({ exitCode, status: summary?.status }).toEqual({ exitCode: 0, status: 'success' });
  const restored = join(to, 'ubd0.cow');
  await runTool('cmp', [restored, storedImage]);
  expect(await allocatedBytes(restored)).toBeLessThan((await stat(storedImage)).size / 2);

  const files = await readdir(to);
  await writeFile(restored, 'mine');
  expect(await jsonOf('restore', snapshot, '--to', to)).toMatchObject({
    ...{ exitCode: 1, error: { code: 'TargetExists' } },
  });
  expect(await readFile(restored, 'utf8')).toBe('mine');
  expect(await readdir(to)).toEqual(files);
});

test('in place of the disk of a guest that runs, or is held by a signal, is refused, and the guest does not notice (fault 63)', async () => {
  const { guest } = scene;
  const { exitCode, error } = await jsonOf('restore', snapshot, '--in-place');
  expect({ exitCode, code: error?.code }).toEqual({ exitCode: 11, code: 'TargetInUse' });
  expect(error?.message).toMatch(/in use by process \d+/);
  process.kill(guest.pid, 'SIGSTOP');
  const refused = await jsonOf('restore', snapshot, '--in-place');
  process.kill(guest.pid, 'SIGCONT');
  expect(refused).toMatchObject({ exitCode: 11, error: { code: 'TargetInUse' } });
  expect(await guest.sh('cat /data/proof')).toBe('now');
  expect(await leftovers()).toEqual([]);
});

describe('in place of the disk of a guest that is halted', () => {
  test('cut short by kill -9 leaves the old disk as it was, and the next one clears up (fault 64)', async () => {
    const { guest } = scene;
    await guest.halt();
    const old = await sha256sum(guest.diskPath);
    const cli = scene.start(['restore', snapshot, '--in-place']);
    await waitFor('its half of the new disk', async () => (await leftovers()).length > 0, { everyMs: 1 });
    cli.kill('SIGKILL');
    await cli.exited;
    expect(await sha256sum(guest.diskPath)).toBe(old);
    expect(await leftovers()).toHaveLength(1);
    expect((await scene.run('recover')).exitCode).toBe(0);
    expect(await scene.snapshots()).toEqual([snapshot]);
    expect((await scene.jobs()).map(({ status }) => status)).not.toContain('running');
  });

  test('gives the guest back what it had, and it boots from it', async () => {
    const { exitCode, summary } = await jsonOf('restore', snapshot, '--in-place', '--keep-replaced');
    expect({ exitCode, error: summary?.error }).toEqual({ exitCode: 0, error: null });
    const [disk] = (summary?.disks ?? []) as { replacedPath: string }[];
    expect(await leftovers()).toEqual([basename(disk?.replacedPath ?? '')]);
    const again = { dir: scene.dir, existingDisks: scene.guest.disks, writer: 'none' } as const;
    await withGuest(again, async (guest) => {
      expect(await guest.sh('cat /data/proof')).toBe('then');
    });
  });
});

describe('of a snapshot that was tampered with is refused, and the disk left as it is (fault 65)', () => {
  const manifest = () => join(storedImage, '..', 'manifest.json');

  /** Restores while the file is another one. */
  async function expectRefused(said: RegExp, ...ways: string[][]): Promise<void> {
    const disk = await sha256sum(scene.guest.diskPath);
    for (const way of ways) {
      const { exitCode, stdout, stderr } = await scene.run('restore', snapshot, ...way, '--json');
      expect(exitCode).toBe(1);
      expect(stdout).toContain('"code":"SnapshotDamaged"');
      expect(stderr).toMatch(said);
    }
    expect(await readdir(scene.path('refused')).catch(() => [])).toEqual([]);
    expect(await leftovers()).toHaveLength(1);
    expect(await sha256sum(scene.guest.diskPath)).toBe(disk);
  }

  test('in its data: a byte flipped, which verify finds as well', async () => {
    const image = await open(storedImage, 'r+');
    const byte = Buffer.alloc(1);
    await image.read(byte, 0, 1, 139_264);
    await image.write(Buffer.from([(byte[0] ?? 0) ^ 1]), 0, 1, 139_264);
    try {
      const verified = await jsonOf('verify', snapshot);
      expect(verified).toMatchObject({ exitCode: 1, error: { code: 'SnapshotDamaged' } });
      const to = ['--to', scene.path('refused')];
      await expectRefused(/ubd0\.cow does not match its checksum/, to, ['--in-place']);
    } finally {
      await image.write(byte, 0, 1, 139_264);
      await image.close();
    }
    expect((await scene.run('verify', snapshot)).exitCode).toBe(0);
  });

  test('in its manifest, which list shows as damaged, or with a checksum that fits: the history knows another one', async () => {
    const kept = await readFile(manifest(), 'utf8');
    const { checksum: _, ...rest } = parseManifest(kept, snapshot);
    try {
      await writeFile(manifest(), kept.replace('"pinned": false', '"pinned": true'));
      const listed = await scene.run('list', '--json');
      expect(listed.json).toMatchObject([{ snapshot, state: 'damaged' }]);
      expect(listed.exitCode).toBe(3);
      await expectRefused(/checksum|manifest/, ['--in-place']);

      await writeFile(manifest(), formatManifest(sealManifest({ ...rest, kernel: 'forged' })));
      await expectRefused(/not the one that the history has recorded/, ['--in-place']);
    } finally {
      await writeFile(manifest(), kept);
    }
  });
});
