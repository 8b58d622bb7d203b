import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  expectFailed,
  expectNothingLost,
  expectRuns,
  recordsOf,
  type Scene,
  setScene,
  ticker,
} from '../snapshot/scene.js';
import { e2fsckReplayed, readFileFromImage } from '../support/inspect-image.js';
import { type MconsoleProxy, startMconsoleProxy } from '../support/mconsole-proxy.js';
import { bootGuest, type RealGuest } from '../support/real-guest.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';

/** The command line on a guest that goes on writing; a proxy before its console sees what it is told and when. */

let dir: string;
let guest: RealGuest;
let proxy: MconsoleProxy;
let scene: Scene;

beforeAll(async () => {
  dir = await makeTempDir();
  guest = await bootGuest({ dir, writer: 'lines', fillMiB: 64, rc: ticker, disks: [{ sizeMiB: 16 }] });
  await guest.sh('umount /ubd1');
  proxy = await startMconsoleProxy({ listenPath: join(dir, 'proxy'), guestSocketPath: guest.socketPath });
  scene = await sceneWith({});
});
afterAll(async () => {
  await proxy?.close();
  await guest?.kill();
  await removeTempDir(dir);
});

function sceneWith(settings: Record<string, unknown>): Promise<Scene> {
  const common = { pauseBudget: '20s', capture: 'copy' };
  const { disks } = guest;
  return setScene({ dir, mconsole: proxy.socketPath, disks, settings: { ...common, ...settings } });
}

const lastLine = async () => Number((await guest.sh('tail -n 1 /data/log')).replace('line ', ''));

async function restored(snapshot: string | null): Promise<string> {
  const to = join(dir, `restored-${snapshot}`);
  expect((await scene.run('restore', snapshot ?? '', '--to', to)).stderr).toBe('');
  return join(to, 'ubd0.img');
}

describe('a snapshot of a guest that writes', () => {
  test('is sound after its journal is replayed, and has every line that was written before it', async () => {
    const before = await recordsOf(scene);
    await waitFor('30 lines', async () => (await lastLine()) >= 30);
    const written = await lastLine();
    const { exitCode, summary } = await scene.snapshot();
    // A copy that is the pause is worth a warning.
    expect({ exitCode, status: summary.status, consistency: summary.consistency }).toEqual({
      ...{ exitCode: 3, status: 'warning', consistency: 'synced' },
    });
    const image = await restored(summary.snapshot);
    expect(await e2fsckReplayed(image)).toMatchObject({ clean: true });
    const log = await readFileFromImage(image, '/data/log');
    const lines = log?.toString().trimEnd().split('\n') ?? [];
    expect(lines).toEqual(lines.map((_, index) => `line ${index + 1}`));
    expect(lines.length).toBeGreaterThanOrEqual(written);
    await expectRuns(guest);
    await expectNothingLost(scene, before);
  });

  test('tells its pause as a witness before the console measures it', async () => {
    const differences: number[] = [];
    // A busy scheduler may come between the two clocks now and then, but not each time.
    while (differences.length < 4 && !differences.some((ms) => ms < 5)) {
      const earlier = (await proxy.pauses()).length;
      const { summary } = await scene.snapshot();
      const pauses = (await proxy.pauses()).slice(earlier);
      expect(pauses).toHaveLength(Number(summary.tries));
      const measuredMs = pauses.at(-1) ?? Number.NaN;
      expect(measuredMs).toBeGreaterThan(10);
      differences.push(Math.abs(Number(summary.pausedMs) - measuredMs));
    }
    expect(Math.min(...differences)).toBeLessThan(5);
  });

  test('has the file that the documented order loses, written right before it', async () => {
    await guest.sh('echo 0 > /proc/sys/vm/dirty_writeback_centisecs');
    await guest.sh('mount -o remount,commit=3600 /; sync');
    try {
      await guest.sh('seq 1 20000 > /data/precious');
      const { summary } = await scene.snapshot();
      expect(summary).toMatchObject({ consistency: 'synced', dirtyKib: 0, error: null });
      const kept = await readFileFromImage(await restored(summary.snapshot), '/data/precious');
      expect(kept?.toString()).toBe(`${await guest.sh('cat /data/precious')}\n`);
    } finally {
      await guest.sh('echo 500 > /proc/sys/vm/dirty_writeback_centisecs; mount -o remount,commit=5 /');
    }
  });
});

describe('a snapshot of a guest that never stops to write', () => {
  beforeAll(async () => {
    scene = await sceneWith({ syncTries: 2, settleTimeout: '300ms' });
  });

  test('is `crash`, with a figure and a warning, if that was asked for', async () => {
    const before = await recordsOf(scene);
    await flood(async () => {
      const { exitCode, summary } = await scene.snapshot('--require', 'crash');
      expect(summary).toMatchObject({ status: 'warning', consistency: 'crash', error: null });
      expect(exitCode).toBe(3);
      expect(summary.dirtyKib).toBeGreaterThan(0);
      expect(summary.warnings.join('\n')).toContain(`${summary.dirtyKib} KiB were not yet on disk`);
      expect(await e2fsckReplayed(await restored(summary.snapshot))).toMatchObject({ clean: true });
    });
    await expectRuns(guest);
    await expectNothingLost(scene, before);
  });

  test('fails and keeps nothing when `synced` is required', async () => {
    const before = await recordsOf(scene);
    await flood(async () => {
      const summary = expectFailed(await scene.snapshot('--require', 'synced'), 'ConsistencyTooWeak');
      expect(summary.error?.message).toMatch(/\d+ KiB not yet on disk.*in each of 2 tries/);
      expect(summary).toMatchObject({ resumed: true });
    });
    await expectRuns(guest);
    expect((await expectNothingLost(scene, before)).sound).toEqual(before.sound);
  });
});

/**
 * Has the guest write without a gap in which it would look clean, while `use` runs: by one process ahead of all others, and
 * to a device rather than a file, which would wait for its journal now and then.
 */
async function flood(use: () => Promise<void>): Promise<void> {
  const program = 'while :; do echo x; done > /dev/ubdb';
  await guest.sh(`sh -c '${program}' > /dev/null 2>&1 & echo $! > /tmp/flood; renice -n -20 -p $!`);
  try {
    await use();
  } finally {
    await guest.sh('kill $(cat /tmp/flood)');
  }
}
