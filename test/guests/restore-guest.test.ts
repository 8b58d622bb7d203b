import { copyFile, open, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { formatManifest, parseManifest, sealManifest } from '../../src/store/manifest.js';
import { allocatedBytes } from '../image/make-image.js';
import {
  expectNothingLost,
  type Records,
  recordsOf,
  type Scene,
  setScene,
  ticker,
} from '../snapshot/scene.js';
import { bootGuest, type RealGuest, withGuest } from '../support/real-guest.js';
import { runTool, tryTool } from '../support/run-tool.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';

/** Restores by the command line of a real guest's snapshot: while it runs, after it is halted, and cut short. */

let dir: string;
let guest: RealGuest;
let scene: Scene;
let snapshot: string;
let storedImage: string;
let before: Records;

beforeAll(async () => {
  dir = await makeTempDir();
  guest = await bootGuest({ dir, writer: 'none', cow: true, fillMiB: 48, rc: ticker });
  scene = await setScene({
    ...{ dir, mconsole: guest.socketPath, disks: guest.disks },
    settings: { capture: 'copy', pauseBudget: '20s' },
  });
  // Into the COW file, so that it takes its time to be restored.
  await guest.sh('dd if=/dev/urandom of=/data/mine bs=1M count=32; echo then > /data/proof; sync');
  const { summary } = await scene.snapshot();
  expect(summary).toMatchObject({ error: null, consistency: 'synced' });
  snapshot = summary.snapshot ?? '';
  storedImage = join(scene.store, 'debian', snapshot.split('@')[1] ?? '', 'ubd0.cow');
  await guest.sh('echo now > /data/proof; sync');
  before = await recordsOf(scene);
});
afterAll(async () => {
  await guest?.kill();
  await removeTempDir(dir);
});

async function jsonOf(...args: string[]) {
  const { exitCode, json, stderr } = await scene.run(...args, '--json');
  const summary = json.find(({ type }) => type === 'summary') as Record<string, unknown> | undefined;
  return { exitCode, summary, stderr, error: summary?.error as { code: string; message: string } | null };
}

describe('into a directory', () => {
  test('gives what was captured, to the byte and with its holes', async () => {
    const to = join(dir, 'there');
    const { exitCode, summary } = await jsonOf('restore', 'debian@latest', '--to', to);
    expect({ exitCode, status: summary?.status }).toEqual({ exitCode: 0, status: 'success' });
    await runTool('cmp', [join(to, 'ubd0.cow'), storedImage]);
    const { size } = await stat(storedImage);
    expect(await allocatedBytes(join(to, 'ubd0.cow'))).toBeLessThan(size / 2);
    before = await expectNothingLost(scene, before);
  });

  test('leaves what exists there as it is, and refuses', async () => {
    const to = join(dir, 'taken');
    await runTool('mkdir', [to]);
    await writeFile(join(to, 'ubd0.cow'), 'mine');
    const { exitCode, error } = await jsonOf('restore', snapshot, '--to', to);
    expect({ exitCode, code: error?.code }).toEqual({ exitCode: 1, code: 'TargetExists' });
    expect(await readFile(join(to, 'ubd0.cow'), 'utf8')).toBe('mine');
    expect(await readdir(to)).toEqual(['ubd0.cow']);
  });
});

describe('in place of the disk of a guest that runs is refused (fault 63)', () => {
  test('and the guest does not notice', async () => {
    const { exitCode, error } = await jsonOf('restore', snapshot, '--in-place');
    expect({ exitCode, code: error?.code }).toEqual({ exitCode: 11, code: 'TargetInUse' });
    expect(error?.message).toMatch(/in use by process \d+/);
    expect(await guest.sh('cat /data/proof')).toBe('now');
    expect(await leftovers()).toEqual([]);
  });

  test('also when it is stopped, or hangs', async () => {
    process.kill(guest.pid, 'SIGSTOP');
    const refused = await jsonOf('restore', snapshot, '--in-place');
    process.kill(guest.pid, 'SIGCONT');
    expect(refused).toMatchObject({ exitCode: 11, error: { code: 'TargetInUse' } });
    expect(await guest.sh('cat /data/proof')).toBe('now');
  });
});

/** What a restore cut short has left beside the disk. */
async function leftovers(): Promise<string[]> {
  const beside = await readdir(join(guest.diskPath, '..'));
  return beside.filter((name) => name.startsWith(`${basename(guest.diskPath)}.`));
}

async function expectProofOnDisk(proof: string): Promise<void> {
  await withGuest({ dir, existingDisks: guest.disks, writer: 'none' }, async (again) => {
    expect(await again.sh('cat /data/proof')).toBe(proof);
  });
}

describe('in place of the disk of a guest that is halted', () => {
  test('cut short by kill -9 leaves the old disk as it was, and the next one clears up (fault 64)', async () => {
    await guest.halt();
    const old = join(dir, 'old.cow');
    await runTool('cp', ['--sparse=always', guest.diskPath, old]);
    const cli = scene.start(['restore', snapshot, '--in-place']);
    await waitFor('its half of the new disk', async () => (await leftovers()).length > 0, { everyMs: 1 });
    cli.kill('SIGKILL');
    await cli.exited;
    expect((await tryTool('cmp', [guest.diskPath, old])).output).toBe('');
    expect(await leftovers()).toHaveLength(1);
    expect((await scene.run('recover')).exitCode).toBe(0);
    before = await expectNothingLost(scene, before);
  });

  test('gives the guest back what it had, and it boots from it', async () => {
    const { exitCode, summary } = await jsonOf('restore', snapshot, '--in-place', '--keep-replaced');
    expect({ exitCode, error: summary?.error }).toEqual({ exitCode: 0, error: null });
    const [disk] = (summary?.disks ?? []) as { replacedPath: string }[];
    expect(await leftovers()).toEqual([basename(disk?.replacedPath ?? '')]);
    await expectProofOnDisk('then');
  });
});

describe('of a snapshot that was tampered with is refused (fault 65)', () => {
  const manifest = () => join(storedImage, '..', 'manifest.json');

  async function expectRefused(code: string, said: RegExp): Promise<void> {
    const to = join(dir, 'refused');
    const toDirectory = await scene.run('restore', snapshot, '--to', to, '--json');
    const inPlace = await scene.run('restore', snapshot, '--in-place', '--json');
    for (const { exitCode, stderr, stdout } of [toDirectory, inPlace]) {
      expect(exitCode).toBe(1);
      expect(stdout).toContain(`"code":"${code}"`);
      expect(stderr).toMatch(said);
    }
    expect(await readdir(to).catch(() => [])).toEqual([]);
    expect(await leftovers()).toHaveLength(1);
    await expectProofOnDisk('then');
  }

  test('in its data: a byte flipped, which verify finds as well', async () => {
    const image = await open(storedImage, 'r+');
    const byte = Buffer.alloc(1);
    await image.read(byte, 0, 1, 139_264);
    await image.write(Buffer.from([(byte[0] ?? 0) ^ 1]), 0, 1, 139_264);
    try {
      const verified = await jsonOf('verify', snapshot);
      expect(verified).toMatchObject({ exitCode: 1, error: { code: 'SnapshotDamaged' } });
      await expectRefused('SnapshotDamaged', /ubd0\.cow does not match its checksum/);
    } finally {
      await image.write(byte, 0, 1, 139_264);
      await image.close();
    }
    expect((await scene.run('verify', snapshot)).exitCode).toBe(0);
  });

  test('in its manifest, which list shows as damaged', async () => {
    const kept = join(dir, 'manifest.kept');
    await copyFile(manifest(), kept);
    const text = await readFile(kept, 'utf8');
    await writeFile(manifest(), text.replace('"pinned": false', '"pinned": true'));
    try {
      const listed = await scene.run('list', '--json');
      expect(listed.json).toMatchObject([{ snapshot, state: 'damaged' }]);
      expect(listed.exitCode).toBe(3);
      await expectRefused('SnapshotDamaged', /checksum|manifest/);
    } finally {
      await copyFile(kept, manifest());
    }
    expect((await scene.run('verify', snapshot)).exitCode).toBe(0);
  });

  test('in its manifest, with a checksum that fits: the history knows another one', async () => {
    const kept = join(dir, 'manifest.kept');
    const { checksum: _, ...rest } = parseManifest(await readFile(manifest(), 'utf8'), snapshot);
    await writeFile(manifest(), formatManifest(sealManifest({ ...rest, kernel: 'forged' })));
    try {
      await expectRefused('SnapshotDamaged', /not the one that the history has recorded/);
    } finally {
      await copyFile(kept, manifest());
    }
  });
});
