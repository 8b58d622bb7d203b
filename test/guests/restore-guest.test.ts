import { readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { restoreToDirectory } from '../../src/restore/restore-to-directory.js';
import { DirectoryStore } from '../../src/store/directory-store.js';
import { type Definition, formatManifest, parseManifest, sealManifest } from '../../src/store/manifest.js';
import type { Store } from '../../src/store/store.js';
import { TarStore } from '../../src/store/tar/tar-store.js';
import { canTrace, throughInjected } from '../capture/traced.js';
import { allocatedBytes, sha256sum, withOpen } from '../image/make-image.js';
import { contentIn } from '../store/sparse-snapshots.js';
import type { GuestDisk } from '../support/guest-disks.js';
import { mergeCow } from '../support/inspect-image.js';
import { type BootOptions, withGuest } from '../support/real-guest.js';
import { runTool } from '../support/run-tool.js';
import { resultOf, setScene } from '../support/scene.js';
import { waitFor } from '../support/wait-for.js';

/** Restores of a real guest's COW snapshot: while it runs, after it is halted, cut short, and booted from. */

const scene = setScene({ guest: { cow: true }, settings: { capture: 'copy' } });
const untraceable = (await canTrace()) ? '' : ' (skipped: strace is missing or may not trace)';
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
  const summary = json.find(({ type }) => type === 'summary');
  return { exitCode, summary, stderr, error: summary?.error as { code: string; message: string } | null };
}

/** What a restore cut short has left beside the disk. */
async function leftovers(): Promise<string[]> {
  const { diskPath } = scene.guest;
  const beside = await readdir(join(diskPath, '..'));
  return beside.filter((name) => name.startsWith(`${basename(diskPath)}.`));
}

async function expectBoots(existingDisks: GuestDisk[], options: Partial<BootOptions> = {}): Promise<void> {
  await withGuest({ dir: scene.dir, existingDisks, writer: 'none', ...options }, async (guest) => {
    expect(await guest.sh('cat /data/proof')).toBe('then');
  });
}

test('into a directory gives what was captured, to the byte and with its holes; merged, the image that uml_moo makes of it', async () => {
  const to = scene.path('there');
  const { exitCode, summary } = await jsonOf('restore', 'debian@latest', '--to', to);
  expect({ exitCode, status: summary?.status }).toEqual({ exitCode: 0, status: 'success' });
  const restored = join(to, 'ubd0.cow');
  await runTool('cmp', [restored, storedImage]);
  expect(await allocatedBytes(restored)).toBeLessThan((await stat(storedImage)).size / 2);

  const merged = await jsonOf('restore', snapshot, '--merge', '--to', scene.path('raw'));
  const image = scene.path('raw', 'ubd0.img');
  const disks = [{ device: 'ubd0', kind: 'raw', path: image, merged: true, backing: null }];
  expect(merged).toMatchObject({ exitCode: 0, summary: { status: 'success', disks } });
  await mergeCow(restored, scene.guest.disks[0]?.backing ?? '', scene.path('theirs'));
  await runTool('cmp', [scene.path('theirs'), image]);
});

test('in place of the disk of a guest that runs, or is held by a signal, is refused, and the guest does not notice (fault 63)', async () => {
  const { guest } = scene;
  const refused = {
    exitCode: 11,
    error: { code: 'TargetInUse', message: expect.stringMatching(/in use by process \d+/) },
  };
  expect(await jsonOf('restore', snapshot, '--in-place')).toMatchObject(refused);
  process.kill(guest.pid, 'SIGSTOP');
  const whileHeld = await jsonOf('restore', snapshot, '--in-place');
  process.kill(guest.pid, 'SIGCONT');
  expect(whileHeld).toMatchObject(refused);
  expect(await guest.sh('cat /data/proof')).toBe('now');
  expect(await leftovers()).toEqual([]);
});

test('a guest that is halted in the midst of a precopy is told as halted, in words and not as a failure, and nothing of it is kept', async () => {
  const precopying = await scene.variant({ capture: 'precopy', precopyRate: '4MiB/s' });
  const cli = precopying.startSnapshot();
  await cli.waitForOutput(/"doneBytes":[1-9]/);
  await scene.guest.halt();
  expect(resultOf(await cli.exited)).toMatchObject({
    exitCode: 75,
    stderr: expect.stringMatching(/^[^{}]*Guest debian was halted during precopy[^{}]*no longer runs[^{}]*$/),
    summary: { status: 'skipped', error: { code: 'GuestHalted', phase: 'precopy' }, resumed: false },
  });
  expect(await scene.incomings()).toEqual([]);
  expect(await scene.snapshots()).toEqual([snapshot]);
});

describe('in place of the disk of a guest that is halted', () => {
  test.skipIf(untraceable)(
    `cut short by kill -9 leaves the old disk as it was, and the next one clears up (fault 64)${untraceable}`,
    async () => {
      const { guest } = scene;
      const old = await sha256sum(guest.diskPath);
      // It stands still before it reads for the second time.
      const through = throughInjected('pread64:delay_enter=60000000:when=2+', storedImage);
      const cli = scene.start(['restore', snapshot, '--in-place'], { through });
      const begun = async () => {
        const [half] = await leftovers();
        return half !== undefined && (await allocatedBytes(join(scene.guest.diskPath, '..', half))) > 0;
      };
      await waitFor('its half of the new disk', begun);
      scene.killCommands();
      await cli.exited;
      expect(await sha256sum(guest.diskPath)).toBe(old);
      expect(await leftovers()).toHaveLength(1);
      expect((await scene.run('recover')).exitCode).toBe(0);
      expect(await scene.snapshots()).toEqual([snapshot]);
      expect((await scene.jobs()).map(({ status }) => status)).not.toContain('running');
    },
  );

  test('gives the guest back what it had, and it boots from it with the command that its definition tells', async () => {
    const { exitCode, summary } = await jsonOf('restore', snapshot, '--in-place', '--keep-replaced');
    expect({ exitCode, error: summary?.error }).toEqual({ exitCode: 0, error: null });
    const [disk] = (summary?.disks ?? []) as { replacedPath: string }[];
    expect(await leftovers()).toEqual([basename(disk?.replacedPath ?? '')]);
    const shown = await scene.run('show', snapshot, '--definition', '--json');
    const [{ command = '', definition } = {}] = shown.json as { command?: string; definition?: Definition }[];
    const kernelPath = definition?.kernelPath ?? '';
    const { home, umid, disks } = scene.guest;
    expect(definition).toMatchObject({
      ...{ kernelSha256: await sha256sum(kernelPath), workingDirectory: home, notes: [] },
      ...{ user: { id: process.getuid?.() }, args: expect.arrayContaining([`umid=${umid}`]) },
      devices: { ubd0: `${disks[0]?.path},${disks[0]?.backing}` },
    });
    expect(definition?.environment.HOME).toBe(home);
    await expectBoots(scene.guest.disks, { umid: scene.guest.umid, commandLine: command });
  });
});

test('of a snapshot that was tampered with is refused, and the disk left as it is: in its data, in its manifest, or with a checksum that fits, for the history knows another one (fault 65)', async () => {
  const disk = await sha256sum(scene.guest.diskPath);
  const expectRefused = async (said: RegExp) => {
    const { exitCode, stdout, stderr } = await scene.run('restore', snapshot, '--in-place', '--json');
    expect(exitCode).toBe(1);
    expect(stdout).toContain('"code":"SnapshotDamaged"');
    expect(stderr).toMatch(said);
    expect(await leftovers()).toHaveLength(1);
    expect(await sha256sum(scene.guest.diskPath)).toBe(disk);
  };
  await withOpen(storedImage, 'r+', async (image) => {
    const { buffer: byte } = await image.read(Buffer.alloc(1), 0, 1, 139_264);
    await image.write(Buffer.from([(byte[0] ?? 0) ^ 1]), 0, 1, 139_264);
    await expectRefused(/ubd0\.cow does not match its checksum/);
    await image.write(byte, 0, 1, 139_264);
  });

  const manifest = join(storedImage, '..', 'manifest.json');
  const kept = await readFile(manifest, 'utf8');
  await writeFile(manifest, kept.replace('"pinned": false', '"pinned": true'));
  const damaged = { exitCode: 3, json: [{ snapshot, state: 'damaged' }] };
  expect(await scene.run('list', '--json')).toMatchObject(damaged);
  // Pages and metrics, which ask no store, know it from then on.
  expect((await scene.withHistory((history) => history.badFindings({}))).verifications).toMatchObject([
    { snapshot },
  ]);
  await expectRefused(/checksum|manifest/);

  const { checksum: _, ...rest } = parseManifest(kept, snapshot);
  await writeFile(manifest, formatManifest(sealManifest({ ...rest, kernel: 'forged' })));
  await expectRefused(/not the one that the history has recorded/);
  await writeFile(manifest, kept);
  expect((await scene.run('verify', snapshot)).exitCode).toBe(0);
});

// Last: the guest's own backing file goes.
test('a COW pair is accepted by UML with all that was written, restored out of a store or of an archive, by virtue of the mtime of its backing file', async () => {
  const store = new DirectoryStore({ name: 'local', path: scene.store });
  const archives = new TarStore({ name: 'archives', path: scene.path('archives'), compression: 'zstd' });
  await archives.prepare(null);
  await archives.receive(await contentIn(store, snapshot), {});
  // UML would go back to where the header says that it lies.
  await rm(scene.guest.disks[0]?.backing ?? '');

  const restored = async (from: Store, to: string) => {
    const { signal } = new AbortController();
    const [disk] = await restoreToDirectory(await contentIn(from, snapshot), scene.path(to), { signal });
    return { device: 'ubd0', path: disk?.path ?? '', backing: disk?.backing?.path ?? '' };
  };
  await expectBoots([await restored(archives, 'archived')]);

  const stored = await restored(store, 'stored');
  await expectBoots([stored]);
  await utimes(stored.backing, 1_000_000, 1_000_000);
  const refused = withGuest({ dir: scene.dir, existingDisks: [stored], bootLimitMs: 20_000 }, async () => {});
  await expect(refused).rejects.toThrow(/did not boot/);
});
