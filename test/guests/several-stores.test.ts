import { readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Filled } from '../../jobs/fill-stores.js';
import { DirectoryStore } from '../../src/store/directory-store.js';
import { allocatedBytes, sha256sum } from '../image/make-image.js';
import { type LoopFilesystem, mountLoopFilesystem, whyNoLoopMount } from '../support/loop-filesystem.js';
import { runTool } from '../support/run-tool.js';
import { resultOf, type SnapshotResult, type Summary, setScene } from '../support/scene.js';
import { waitFor } from '../support/wait-for.js';

/** A guest with two stores, of which the second has its troubles: none of them costs a snapshot. */

const skipped = whyNoLoopMount('ext4');

describe.skipIf(skipped !== undefined)(`two stores${skipped ? ` (skipped: ${skipped})` : ''}`, () => {
  const scene = setScene({
    guest: { sizeMiB: 48, fillMiB: 12 },
    settings: { capture: 'copy', store: ['local', 'second'] },
  });
  let second: LoopFilesystem;
  beforeAll(async () => {
    second = await mountLoopFilesystem({ type: 'ext4', sizeMiB: 256 });
    await configure();
  });
  afterAll(() => second?.remove());

  async function configure(keep?: Record<string, unknown>): Promise<void> {
    const [local, other] = [scene.store, second.mountPoint].map((path) => ({ type: 'directory', path }));
    const defaults = { store: 'local', timezone: 'UTC', pauseBudget: '60s', ...(keep && { keep }) };
    await scene.configure({ debian: scene.settings() }, { stores: { local, second: other }, defaults });
  }

  const otherStore = () => new DirectoryStore({ name: 'second', path: second.mountPoint });
  const inSecond = async () => (await otherStore().list()).map(({ snapshot }) => snapshot).sort();

  /** Sealed, listed in the first store and told with a warning that names the second one; the guest runs. */
  async function expectKeptWithWarning(result: SnapshotResult, warning: RegExp): Promise<string> {
    const { summary } = result;
    expect(summary.error).toBe(null);
    expect(result.exitCode).toBe(3);
    expect(warningsOfSecond(summary).join()).toMatch(warning);
    expect(fillOf(summary)).toMatchObject({ outcome: 'failed', facts: { store: 'second', carried: 0 } });
    await scene.expectWell();
    const snapshot = String(summary.snapshot);
    expect(await scene.snapshots()).toContain(snapshot);
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
    expect(await inSecond()).toEqual(await scene.snapshots());
    expect(await otherStore().incomings()).toEqual([]);
  }

  const mountAgain = () => runTool('mount', ['-o', 'loop', '-t', 'ext4', second.image, second.mountPoint]);
  const filling = () =>
    waitFor('the filling', async () => (await otherStore().incomings()).length > 0, { everyMs: 2 });

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
    const name = join(...snapshot.split('@'), 'ubd0.img');
    const images = [scene.store, second.mountPoint].map((store) => join(store, name));
    const [one, other] = await Promise.all(images.map(sha256sum));
    expect(other).toBe(one);
    expect(await allocatedBytes(images[1] ?? '')).toBeLessThan(32 * 1024 * 1024);
  });

  test('of which one vanishes half-way are a warning', async () => {
    const job = scene.startSnapshot();
    await filling();
    await runTool('xfs_io', ['-x', '-c', 'shutdown', second.mountPoint]);
    try {
      const result = resultOf(await job.exited);
      missed.push(await expectKeptWithWarning(result, /store second can't be used|EIO|Input/));
    } finally {
      await runTool('umount', [second.mountPoint]);
      await mountAgain();
    }
  });

  /** What the second store has not got yet. */
  const missed: string[] = [];
  const ballast = () => join(second.mountPoint, 'ballast');
  const troubles: [string, RegExp, () => Promise<unknown>, () => Promise<unknown>][] = [
    [
      'not mounted (fault 33)',
      /store second .* is not there/,
      () => runTool('umount', [second.mountPoint]),
      async () => {
        expect(await readdir(second.mountPoint)).toEqual([]);
        // It is found in the other one.
        expect((await scene.run('verify', missed.at(-1) ?? '')).exitCode).toBe(0);
        await mountAgain();
      },
    ],
    [
      'read-only (fault 32)',
      /store second .*[Rr]ead-only/i,
      () => runTool('mount', ['-o', 'remount,ro', second.mountPoint]),
      () => runTool('mount', ['-o', 'remount,rw', second.mountPoint]),
    ],
    [
      'full, with nothing half left there (fault 29)',
      /store second .* too little room/,
      async () => runTool('fallocate', ['-l', `${(await freeMiB(second.mountPoint)) - 3}M`, ballast()]),
      async () => {
        expect(await otherStore().incomings()).toEqual([]);
        await rm(ballast());
      },
    ],
  ];

  test.each(troubles)('of which one is %s are a warning', async (_, warning, spoil, mend) => {
    await spoil();
    try {
      missed.push(await expectKeptWithWarning(await scene.snapshot(), warning));
    } finally {
      await mend();
    }
  });

  test('are cleared up after a job that was killed while it filled one, and that has caught up with all in the next', async () => {
    const job = scene.startSnapshot();
    await filling();
    job.kill('SIGKILL');
    await job.exited;
    expect(await otherStore().incomings()).toHaveLength(1);
    expect((await scene.run('recover', '--json')).exitCode).toBe(0);
    expect(await otherStore().incomings()).toEqual([]);
    await scene.expectWell();
    const newest = (await scene.snapshots()).at(-1) ?? '';
    expect(await inSecond()).not.toContain(newest);
    await expectCaughtUp(...missed, newest);
  });

  test('are pinned and pruned together, each by itself', async () => {
    const [oldest = '', ...others] = await scene.snapshots();
    const pinned = await scene.run('pin', oldest, '--json');
    expect(pinned.json).toMatchObject([{ stores: ['local', 'second'], warnings: [] }]);
    await configure({ last: 1 });
    const newest = others.at(-1) ?? '';
    const { json } = await scene.run('prune', 'debian', '--json');
    const { kept } = json.at(-1) as unknown as { kept: { snapshot: string; store: string }[] };
    expect(kept.map((one) => `${one.store} ${one.snapshot}`).sort()).toEqual([
      `local ${oldest}`,
      `local ${newest}`,
      `second ${oldest}`,
      `second ${newest}`,
    ]);
    expect(await scene.snapshots()).toEqual([oldest, newest]);
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

  test('hold what --store names, and only the one that it names', async () => {
    const { summary } = await scene.snapshot('--store', 'second');
    expect(summary).toMatchObject({ error: null, filled: [] });
    expect(await inSecond()).toContain(summary.snapshot);
    expect(await scene.snapshots()).not.toContain(summary.snapshot);
  });
});

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
