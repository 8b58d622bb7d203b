import { readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Filled } from '../../jobs/fill-stores.js';
import { allocatedBytes, sha256sum } from '../image/make-image.js';
import {
  expectRuns,
  resultOf,
  type Scene,
  type SnapshotResult,
  type Summary,
  setScene,
  ticker,
} from '../snapshot/scene.js';
import {
  canLoopMount,
  type LoopFilesystem,
  mountLoopFilesystem,
  whyNoLoopMount,
} from '../support/loop-filesystem.js';
import { bootGuest, type RealGuest } from '../support/real-guest.js';
import { runTool } from '../support/run-tool.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';

/** A guest with two stores, of which the second has its troubles: none of them costs a snapshot. */

const skipped = whyNoLoopMount('ext4');

describe.skipIf(!canLoopMount('ext4'))(`two stores${skipped ? ` (skipped: ${skipped})` : ''}`, () => {
  let dir: string;
  let second: LoopFilesystem;
  let guest: RealGuest;
  let scene: Scene;
  let local: string;

  beforeAll(async () => {
    dir = await makeTempDir();
    second = await mountLoopFilesystem({ type: 'ext4', sizeMiB: 256 });
    guest = await bootGuest({ dir, writer: 'none', fillMiB: 12, rc: ticker });
    local = join(dir, 'local');
    scene = await setScene({
      ...{ dir, mconsole: guest.socketPath, disks: guest.disks },
      stores: { local, second: second.mountPoint },
      settings: { pauseBudget: '60s', capture: 'copy', store: ['local', 'second'] },
    });
  });
  afterAll(async () => {
    await guest?.kill();
    await second?.remove();
    await removeTempDir(dir);
  });

  const ballast = () => join(second.mountPoint, 'ballast');

  async function inStore(store: string): Promise<string[]> {
    const { json } = await scene.run('list', '--json');
    return json.filter((row) => row.store === store).map(({ snapshot }) => String(snapshot));
  }

  /** Sealed, listed in the first store and told with a warning that names the second one; the guest runs. */
  async function expectKeptWithWarning(result: SnapshotResult, warning: RegExp): Promise<string> {
    const { summary } = result;
    expect(summary.error).toBe(null);
    expect(result.exitCode).toBe(3);
    expect(warningsOfSecond(summary).join()).toMatch(warning);
    expect(fillOf(summary).facts).toMatchObject({ store: 'second', carried: 0 });
    expect(fillOf(summary).outcome).toBe('failed');
    await expectRuns(guest);
    const snapshot = String(summary.snapshot);
    expect(await inStore('local')).toContain(snapshot);
    return snapshot;
  }

  /** The next job gives the second store all that it has missed. */
  async function expectCaughtUp(...missed: string[]): Promise<void> {
    const { summary } = await scene.snapshot();
    expect(warningsOfSecond(summary)).toEqual([]);
    expect((summary.filled as Filled[])[0]?.carried).toEqual([...missed, String(summary.snapshot)]);
    await expectBothAlike();
  }

  async function expectBothAlike(): Promise<void> {
    expect(await inStore('second')).toEqual(await inStore('local'));
    expect((await readdir(join(second.mountPoint, 'debian'))).filter(isIncoming)).toEqual([]);
  }

  test('get each snapshot, the second one while the guest runs again, byte for byte', async () => {
    const { summary } = await scene.snapshot();
    const snapshot = String(summary.snapshot);
    const [filled] = summary.filled as Filled[];
    expect(filled).toMatchObject({ store: 'second', carried: [snapshot], problems: [] });
    expect(filled?.carriedBytes).toBeGreaterThan(0);
    const phases = summary.phases.map(({ phase }) => phase);
    expect(phases.indexOf('fill')).toBeGreaterThan(phases.indexOf('retain'));
    const facts = { store: 'second', carried: 1, carriedBytes: filled?.carriedBytes, removed: 0 };
    expect(fillOf(summary)).toMatchObject({ outcome: 'done', facts });
    await expectBothAlike();
    const name = snapshot.split('@')[1] ?? '';
    const images = [local, second.mountPoint].map((store) => join(store, 'debian', name, 'ubd0.img'));
    const [one, other] = await Promise.all(images.map(sha256sum));
    expect(other).toBe(one);
    expect(await allocatedBytes(images[1] ?? '')).toBeLessThan(32 * 1024 * 1024);
  });

  test('of which one is not mounted are a warning, and it is caught up (fault 33)', async () => {
    await runTool('umount', [second.mountPoint]);
    const missed: string[] = [];
    try {
      missed.push(await expectKeptWithWarning(await scene.snapshot(), /store second .* is not there/));
      missed.push(await expectKeptWithWarning(await scene.snapshot(), /store second .* is not there/));
      expect(await readdir(second.mountPoint)).toEqual([]);
      // It is found in the other one.
      expect((await scene.run('verify', missed[0] ?? '')).exitCode).toBe(0);
    } finally {
      await runTool('mount', ['-o', 'loop', '-t', 'ext4', second.image, second.mountPoint]);
    }
    await expectCaughtUp(...missed);
  });

  test('of which one is read-only are a warning, and it is caught up (fault 32)', async () => {
    await runTool('mount', ['-o', 'remount,ro', second.mountPoint]);
    let missed = '';
    try {
      missed = await expectKeptWithWarning(await scene.snapshot(), /store second .*[Rr]ead-only/i);
    } finally {
      await runTool('mount', ['-o', 'remount,rw', second.mountPoint]);
    }
    await expectCaughtUp(missed);
  });

  test('of which one is full are a warning, nothing half is left there, and it is caught up (fault 29)', async () => {
    await runTool('fallocate', ['-l', `${(await freeMiB(second.mountPoint)) - 3}M`, ballast()]);
    let missed = '';
    try {
      missed = await expectKeptWithWarning(await scene.snapshot(), /store second .* too little room/);
      expect((await readdir(join(second.mountPoint, 'debian'))).filter(isIncoming)).toEqual([]);
    } finally {
      await rm(ballast());
    }
    await expectCaughtUp(missed);
  });

  test('of which one vanishes half-way are a warning, and it is caught up', async () => {
    const job = scene.start(['snapshot', 'debian', '--json']);
    await waitFor('the filling', () => isFilling(second.mountPoint), { everyMs: 2 });
    await runTool('xfs_io', ['-x', '-c', 'shutdown', second.mountPoint]);
    let missed = '';
    try {
      missed = await expectKeptWithWarning(
        resultOf(await job.exited),
        /store second can't be used|EIO|Input/,
      );
    } finally {
      await runTool('umount', [second.mountPoint]);
      await runTool('mount', ['-o', 'loop', '-t', 'ext4', second.image, second.mountPoint]);
    }
    await expectCaughtUp(missed);
  });

  test('are cleared up after a job that was killed while it filled one', async () => {
    const job = scene.start(['snapshot', 'debian', '--json']);
    await waitFor('the filling', () => isFilling(second.mountPoint), { everyMs: 2 });
    job.kill('SIGKILL');
    await job.exited;
    await expectRuns(guest);
    expect((await readdir(join(second.mountPoint, 'debian'))).filter(isIncoming)).toHaveLength(1);
    const recovered = await scene.run('recover', '--json');
    expect(recovered.exitCode).toBe(0);
    expect((await readdir(join(second.mountPoint, 'debian'))).filter(isIncoming)).toEqual([]);
    const [newest = ''] = (await inStore('local')).slice(-1);
    expect(await inStore('second')).not.toContain(newest);
    expect((await scene.run('verify', newest)).exitCode).toBe(0);
    await expectCaughtUp(newest);
  });

  test('hold what --store names, and only the one that it names', async () => {
    const { summary } = await scene.snapshot('--store', 'second');
    expect(summary).toMatchObject({ error: null, filled: [] });
    expect(await inStore('second')).toContain(summary.snapshot);
    expect(await inStore('local')).not.toContain(summary.snapshot);
    await scene.run('prune', '--json');
    const removed = join(second.mountPoint, 'debian', String(summary.snapshot).split('@')[1] ?? '');
    await rm(removed, { recursive: true });
    await scene.run('recover');
  });

  test('are pinned and pruned together, each by itself', async () => {
    const [oldest = '', ...others] = await inStore('local');
    const pinned = await scene.run('pin', oldest, '--json');
    expect(pinned.json).toMatchObject([{ stores: ['local', 'second'], warnings: [] }]);
    const config = JSON.parse(await readFile(scene.config, 'utf8'));
    config.defaults.keep = { last: 1 };
    await writeFile(scene.config, JSON.stringify(config));
    const newest = others.at(-1) ?? '';
    const { json } = await scene.run('prune', 'debian', '--json');
    const { kept } = json.at(-1) as unknown as { kept: { snapshot: string; store: string }[] };
    expect(kept.map((one) => `${one.store} ${one.snapshot}`).sort()).toEqual([
      `local ${oldest}`,
      `local ${newest}`,
      `second ${oldest}`,
      `second ${newest}`,
    ]);
    expect(await inStore('local')).toEqual([oldest, newest]);
    await expectBothAlike();
    // A store that comes back empty gets what the rules would keep there, and nothing that they would remove at once.
    await rename(join(second.mountPoint, 'debian'), join(second.mountPoint, 'lost'));
    await scene.run('recover');
    const { summary } = await scene.snapshot();
    expect((summary.filled as Filled[])[0]?.carried).toEqual([oldest, String(summary.snapshot)]);
    expect((await scene.run('unpin', oldest, '--json')).json).toMatchObject([
      { stores: ['local', 'second'] },
    ]);
  });
});

const isIncoming = (name: string) => name.startsWith('.incoming-');

async function isFilling(store: string): Promise<boolean> {
  const entries = await readdir(join(store, 'debian')).catch(() => []);
  return entries.some(isIncoming);
}

function fillOf(summary: Summary): Summary['phases'][number] {
  const phase = summary.phases.find((one) => one.phase === 'fill');
  if (!phase) throw new Error('there is no phase `fill`');
  return phase;
}

const warningsOfSecond = (summary: Summary) =>
  summary.warnings.filter((text) => text.startsWith('store second'));

async function freeMiB(mountPoint: string): Promise<number> {
  const text = (await runTool('df', ['--output=avail', '-BM', mountPoint])).toString();
  return Number.parseInt(text.split('\n')[1] ?? '', 10);
}
