import { existsSync } from 'node:fs';
import { mkdir, readdir, rm, statfs, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { Filled } from '../../src/copies/fill-stores.js';
import { DirectoryStore } from '../../src/store/directory-store.js';
import { incomingDirectory, jobOfIncoming } from '../../src/store/layout.js';
import { isSound } from '../../src/store/stored-snapshots.js';
import { withInjected } from '../capture/traced.js';
import { allocatedBytes, sha256sum } from '../image/make-image.js';
import type { RunningCli } from '../support/cli.js';
import { letCapture, letGoIntoCapture, startHeld } from '../support/held-job.js';
import { type LoopFilesystem, mountLoopFilesystem, whyNoLoopMount } from '../support/loop-filesystem.js';
import { runTool } from '../support/run-tool.js';
import {
  type Commands,
  expectFailed,
  expectRuns,
  resultOf,
  type SnapshotResult,
  type Summary,
  setScene,
} from '../support/scene.js';
import { waitFor } from '../support/wait-for.js';

/**
 * A store on a filesystem of its own that vanishes, fills up, turns read-only or hangs, under a snapshot of a real guest: as the guest's
 * second store, where that costs no snapshot, and as its only one.
 */

const skipped = whyNoLoopMount('ext4');

describe.skipIf(skipped !== undefined)(`a store${skipped ? ` (skipped: ${skipped})` : ''}`, () => {
  const scene = setScene({
    guest: { sizeMiB: 48, fillMiB: 12 },
    proxied: true,
    settings: { capture: 'copy' },
  });
  let filesystem: LoopFilesystem;
  let mountPoint: string;
  let second: DirectoryStore;
  let asOnlyStore: Commands;
  beforeAll(async () => {
    filesystem = await mountLoopFilesystem({ type: 'ext4', sizeMiB: 256, inodes: 256 });
    mountPoint = filesystem.mountPoint;
    second = new DirectoryStore({ name: 'second', path: mountPoint });
    await configure();
    const stores = { second: { type: 'directory', path: mountPoint } };
    asOnlyStore = await scene.variant({}, { stores, defaults: { store: 'second', pauseBudget: '60s' } });
  });
  afterEach(async () => {
    await scene.expectWell();
    expect(await second.incomings()).toEqual([]);
  });
  afterAll(() => filesystem?.remove());

  async function configure(settings: Record<string, unknown> = {}): Promise<void> {
    const [local, other] = [scene.store, mountPoint].map((path) => ({ type: 'directory', path }));
    const debian = scene.settings({ store: ['local', 'second'], ...settings });
    await scene.configure({ debian }, { stores: { local, second: other } });
  }

  const inSecond = async () => (await second.list()).map(({ snapshot }) => snapshot).sort();
  const filledBy = ({ filled }: Summary) => (filled as Filled[])[0];
  const phase = ({ phases }: Summary, name: string) => phases.findIndex((one) => one.phase === name);
  const warningsOfSecond = ({ warnings }: Summary) =>
    warnings.filter((text) => text.startsWith('store second'));
  const stops = async () => (await scene.proxy.events()).filter(({ command }) => command === 'stop').length;

  /** Sealed, listed in the first store and told with a warning that names the second one. */
  async function expectKeptWithWarning(result: SnapshotResult, warning: RegExp): Promise<void> {
    const { summary, exitCode } = result;
    expect(summary.error).toBe(null);
    expect(exitCode).toBe(3);
    expect(warningsOfSecond(summary).join()).toMatch(warning);
    expect(summary.phases[phase(summary, 'fill')]).toMatchObject({
      ...{ outcome: 'failed', facts: { store: 'second', carried: 0 } },
    });
    expect(await scene.snapshots()).toContain(summary.snapshot);
    missed.push(String(summary.snapshot));
  }
  /** What the second store has not got yet. */
  const missed: string[] = [];

  /** Before the guest is stopped. */
  async function expectRefusedAsOnlyStore(code: string, problem: RegExp): Promise<void> {
    const stopsBefore = await stops();
    const { status, error } = expectFailed(await asOnlyStore.snapshot(), code);
    expect({ status, phase: error?.phase }).toEqual({ status: 'failed', phase: 'preflight' });
    expect(error?.message).toMatch(problem);
    expect(await stops()).toBe(stopsBefore);
  }

  async function expectBothAlike(): Promise<void> {
    expect(await inSecond()).toEqual(await scene.snapshots());
    expect(await second.incomings()).toEqual([]);
  }

  const mountAgain = () => runTool('mount', ['-o', 'loop', '-t', 'ext4', filesystem.image, mountPoint]);
  /** Runs `use` while a job stands still at the first disk that it carries into the second store, which is empty there yet. */
  async function whileFilling(use: (job: RunningCli) => Promise<unknown>): Promise<RunningCli> {
    const { cli, incoming, letGo } = await startHeld(scene);
    // What it has missed comes first.
    const first = (await scene.listed()).find(({ snapshot }) => missed.includes(snapshot));
    const job = first && isSound(first) ? first.manifest.job : (jobOfIncoming(basename(incoming)) ?? '');
    const disk = join(incomingDirectory({ name: 'second', path: mountPoint }, 'debian', job), 'ubd0.img');
    const untilUsed = async () => {
      await letGo();
      await waitFor('the filling', () => existsSync(disk));
      await use(cli);
    };
    await withInjected(cli.pid, ['openat:delay_exit=60000000'], untilUsed, disk);
    return cli;
  }

  const ballast = () => join(mountPoint, 'ballast');
  async function freeMiB(): Promise<number> {
    const { bavail, bsize } = await statfs(mountPoint);
    return Math.floor((bavail * bsize) / 2 ** 20);
  }
  /** Leaves so much room in the store. */
  async function fillTo(leftMiB: number): Promise<void> {
    await runTool('fallocate', ['-l', `${(await freeMiB()) - leftMiB}M`, ballast()]);
  }

  test('beside another one gets each snapshot while the guest runs again, byte for byte', async () => {
    const { summary } = await scene.snapshot();
    const snapshot = String(summary.snapshot);
    const filled = filledBy(summary);
    expect(filled).toMatchObject({ store: 'second', carried: [snapshot], problems: [] });
    expect(filled?.carriedBytes).toBeGreaterThan(0);
    expect(phase(summary, 'fill')).toBeGreaterThan(phase(summary, 'retain'));
    const facts = { store: 'second', carried: 1, carriedBytes: filled?.carriedBytes, removed: 0 };
    expect(summary.phases[phase(summary, 'fill')]).toMatchObject({ outcome: 'done', facts });
    await expectBothAlike();
    const image = join(...snapshot.split('@'), 'ubd0.img');
    expect(await sha256sum(join(mountPoint, image))).toBe(await sha256sum(join(scene.store, image)));
    expect(await allocatedBytes(join(mountPoint, image))).toBeLessThan(32 * 1024 * 1024);
  });

  test('that vanishes half-way is a warning beside another one, and what nobody could remove there goes when it is back', async () => {
    // Its log is written first: what is half-made there will be there again.
    const job = await whileFilling(() => runTool('xfs_io', ['-x', '-c', 'shutdown -f', mountPoint]));
    try {
      const result = resultOf(await job.exited);
      await expectKeptWithWarning(result, /Store second can't be used: .*an I\/O error/);
    } finally {
      await runTool('umount', [mountPoint]);
      await mountAgain();
    }
    const [halfMade] = await second.incomings();
    const discarded = [`${halfMade?.guest}/${halfMade?.job}`];
    expect((await scene.run('recover', '--json')).json).toMatchObject([{ discarded, problems: [] }]);
  });

  interface Trouble {
    spoil: () => Promise<unknown>;
    warning: RegExp;
    refusal: [code: string, problem: RegExp];
    look: () => Promise<void>;
    mend: () => Promise<unknown>;
  }

  test.each<[string, Trouble]>([
    [
      'not mounted (fault 33), gets nothing written under it, and',
      {
        spoil: () => runTool('umount', [mountPoint]),
        warning: /store second .* is not there/,
        refusal: ['StoreNotMounted', /its marker file is not there/],
        look: async () => {
          expect(await readdir(mountPoint)).toEqual([]);
          // It is found in the other one.
          expect((await scene.run('verify', missed.at(-1) ?? '')).exitCode).toBe(0);
          // The history remembers what lies there.
          const { exitCode, json } = await asOnlyStore.run('list', '--json');
          expect(exitCode).toBe(3);
          expect(new Set(json.map(({ state }) => state))).toEqual(new Set(['unreachable']));
          // To say that there is no such snapshot would be wrong.
          const told = { exitCode: 1, json: [{ code: 'StoreNotMounted' }] };
          expect(await asOnlyStore.run('verify', 'debian@latest', '--json')).toMatchObject(told);
        },
        mend: mountAgain,
      },
    ],
    [
      'read-only (fault 32)',
      {
        spoil: () => runTool('mount', ['-o', 'remount,ro', mountPoint]),
        warning: /store second .*[Rr]ead-only/i,
        refusal: ['StoreUnusable', /read-only/i],
        // What lies there can be listed and verified all the same.
        look: async () => expect((await asOnlyStore.run('verify', 'debian@latest')).exitCode).toBe(0),
        mend: () => runTool('mount', ['-o', 'remount,rw', mountPoint]),
      },
    ],
    [
      'full (fault 29)',
      {
        spoil: () => fillTo(3),
        warning: /store second .* too little room/,
        refusal: ['StoreTooFull', /MiB and \d+ inodes free, \d+\.\d MiB are needed/],
        look: async () => expect(await second.incomings()).toEqual([]),
        mend: () => rm(ballast()),
      },
    ],
  ])(
    'that is %s is a warning beside another one, and alone refused before the guest is stopped',
    async (_, { spoil, warning, refusal, look, mend }) => {
      await spoil();
      try {
        await expectKeptWithWarning(await scene.snapshot(), warning);
        await expectRefusedAsOnlyStore(...refusal);
        await look();
      } finally {
        await mend();
      }
    },
  );

  test('that is without inodes is refused before the guest is stopped (fault 30)', async () => {
    const many = join(mountPoint, 'many');
    await mkdir(many);
    const makeAll = async () => {
      for (let n = 0; ; n++) await writeFile(join(many, `${n}`), '');
    };
    await expect(makeAll()).rejects.toMatchObject({ code: 'ENOSPC' });
    // There is not even one for the directory of the new snapshot.
    const refused = expectRefusedAsOnlyStore('StoreTooFull', / 0 inodes free/);
    await refused.finally(() => rm(many, { recursive: true }));
  });

  test('that runs full during the copy fails it, and gets its room back (fault 29)', async () => {
    const freeBefore = await freeMiB();
    const job = await startHeld(scene, [], asOnlyStore);
    await fillTo(8);
    const summary = expectFailed(await job.end(), 'CaptureFailed');
    await rm(ballast());
    expect(summary).toMatchObject({ resumed: true, error: { phase: 'capture' } });
    expect(summary.error?.message).toContain('the store has no room left (ENOSPC)');
    await waitFor('its room to be back', async () => (await freeMiB()) >= freeBefore - 1);
  });

  test('that hangs during the copy does not keep the guest from running at its deadline (fault 34)', async () => {
    const job = await startHeld(scene, ['--budget', '5s'], asOnlyStore);
    const pausesBefore = (await scene.proxy.pauses()).length;
    await letGoIntoCapture(job, scene.proxy);
    await runTool('fsfreeze', ['-f', mountPoint]);
    try {
      await letCapture(scene.proxy);
      // While the store still hangs, and with it all that has to be undone there.
      const isResumed = async () => (await scene.proxy.pauses()).length > pausesBefore;
      await waitFor('the guest to be resumed', isResumed);
      await expectRuns(scene.guest);
    } finally {
      await runTool('fsfreeze', ['-u', mountPoint]);
    }
    const summary = expectFailed(resultOf(await job.cli.exited), 'PauseBudgetExceeded');
    expect(summary).toMatchObject({ resumed: true, error: { phase: 'capture' } });
  });

  test('is cleared up after a job that was killed while it filled it, and has caught up with all in the next', async () => {
    const job = await whileFilling(async ({ kill }) => kill('SIGKILL'));
    await job.exited;
    expect(await second.incomings()).toHaveLength(1);
    expect((await scene.run('recover', '--json')).exitCode).toBe(0);
    await scene.expectWell();
    const newest = (await scene.snapshots()).at(-1) ?? '';
    expect(await inSecond()).not.toContain(newest);
    const { summary } = await scene.snapshot();
    expect(warningsOfSecond(summary)).toEqual([]);
    expect(filledBy(summary)?.carried).toEqual([...missed, newest, summary.snapshot]);
    await expectBothAlike();
  });

  test('is pinned and pruned together with the other one, each by itself', async () => {
    const [oldest = '', ...others] = await scene.snapshots();
    const inBoth = { stores: ['local', 'second'], warnings: [] };
    expect((await scene.run('pin', oldest, '--json')).json).toMatchObject([inBoth]);
    await configure({ keep: { last: 1 } });
    const newest = others.at(-1) ?? '';
    const { json } = await scene.run('prune', 'debian', '--json');
    const { kept } = json.at(-1) as unknown as { kept: { snapshot: string; store: string }[] };
    expect(kept.map((one) => `${one.store} ${one.snapshot}`).sort()).toEqual(
      ['local', 'second'].flatMap((store) => [`${store} ${oldest}`, `${store} ${newest}`]),
    );
    expect(await scene.snapshots()).toEqual([oldest, newest]);
    scene.forgetSnapshots();
    await expectBothAlike();
    // Coming back empty, it gets what the rules would keep there, and nothing that they would remove at once.
    await rm(join(mountPoint, 'debian'), { recursive: true });
    await scene.run('recover');
    const { summary } = await scene.snapshot();
    expect(filledBy(summary)?.carried).toEqual([oldest, summary.snapshot]);
    expect((await scene.run('unpin', oldest, '--json')).json).toMatchObject([inBoth]);
  });

  test('is the only one that has what --store names it for', async () => {
    const { summary } = await scene.snapshot('--store', 'second');
    expect(summary).toMatchObject({ error: null, filled: [] });
    expect(await inSecond()).toContain(summary.snapshot);
    expect(await scene.snapshots()).not.toContain(summary.snapshot);
  });
});
