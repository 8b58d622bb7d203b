import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { whyNoTracing } from '../capture/tracing/why-no-tracing.js';
import { beforeGo, startHeld } from '../snapshot/held-job.js';
import {
  expectNothingLost,
  expectRuns,
  type Records,
  recordsOf,
  type Scene,
  type SnapshotResult,
  setScene,
  ticker,
} from '../snapshot/scene.js';
import { e2fsckReplayed, readFileFromImage } from '../support/inspect-image.js';
import { type MconsoleProxy, startMconsoleProxy } from '../support/mconsole-proxy.js';
import { bootGuest, type RealGuest } from '../support/real-guest.js';
import { roundsOr } from '../support/rounds.js';
import { runTool, tryTool } from '../support/run-tool.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';

/** The command line copies the disk of a real guest that writes and discards all the while, by both trackers. */

let dir: string;
let guest: RealGuest;
let proxy: MconsoleProxy;

/** Files that come and go, whose blocks are given back to the host. */
const discards = [
  'mount -o remount,discard /',
  '(while :; do dd if=/dev/urandom of=/data/gone bs=64k count=64 2>/dev/null; sync; rm /data/gone; sync; sleep 0.2; done) &',
];

beforeAll(async () => {
  dir = await makeTempDir();
  const rc = [...ticker, ...discards];
  guest = await bootGuest({ dir, writer: 'heavy', sizeMiB: 192, fillMiB: 48, rc });
  proxy = await startMconsoleProxy({ listenPath: join(dir, 'proxy'), guestSocketPath: guest.socketPath });
  // Not by `ls`: it fails when a file that it has listed is gone.
  await waitFor('heavy writes', async () => (await guest.sh('test -e /data/heavy; echo $?')) === '0');
});
afterAll(async () => {
  await proxy?.close();
  await guest?.kill();
  await removeTempDir(dir);
});

const lastLine = async () => Number((await guest.sh('tail -n 1 /data/log')).replace('line ', ''));

/** How much of the image is holes: what the guest gave back. */
async function holeKib(path: string): Promise<number> {
  const [blocks = 0, sizeBytes = 0] = (await runTool('stat', ['-c', '%b %s', path]))
    .toString()
    .split(' ')
    .map(Number);
  return (sizeBytes - blocks * 512) / 1024;
}

const untraced = await whyNoTracing();
const timeout = 300_000 + 60_000 * roundsOr(3);

describe.each(['traced', 'compared'] as const)('a guest that writes and discards is %s', (tracker) => {
  describe.skipIf(tracker === 'traced' && untraced !== null)(
    `while it is copied${untraced === null ? '' : ` (traced is skipped: ${untraced})`}`,
    () => {
      let scene: Scene;
      let before: Records;
      beforeAll(async () => {
        const settings = { capture: 'precopy', precopyTracker: tracker, require: 'crash', syncTries: 1 };
        const { disks } = guest;
        scene = await setScene({
          ...{ dir: join(dir, tracker), mconsole: proxy.socketPath, disks },
          settings: { ...settings, pauseBudget: '20s' },
        });
      });
      beforeEach(async () => {
        before = await recordsOf(scene);
      });

      async function compareWith(copy: string) {
        const pausesBefore = (await proxy.pauses()).length;
        const { exitCode, output } = await tryTool('cmp', [guest.diskPath, copy]);
        return { exitCode, output, pausesEnded: (await proxy.pauses()).length - pausesBefore };
      }

      function expectPrecopied({ summary, stderr }: SnapshotResult): void {
        expect(summary, stderr).toMatchObject({
          ...{ method: 'precopy', tracker, resumed: true, error: null },
          precopy: {
            ...{ tracker, trackerProblem: null, proof: tracker === 'traced' ? 'held' : null },
            ...{ rounds: expect.any(Number), pausedBytes: expect.any(Number) },
          },
        });
      }

      test('into what its disk is at the end of the pause, byte for byte (fault 8)', {
        timeout,
      }, async () => {
        for (let round = 0; round < roundsOr(3); round++) {
          const job = await startHeld(scene, proxy);
          const copy = join(job.incoming, 'ubd0.img');
          const { result, used: seen } = await beforeGo(job, proxy, () => compareWith(copy));
          // First whether it was captured at all: there is nothing to compare otherwise.
          expectPrecopied(result);
          expect(seen.exitCode, seen.output).toBe(0);
          expect(seen.pausesEnded).toBe(0);
        }
        await expectRuns(guest);
        await expectNothingLost(scene, before);
      });

      test('into a sound filesystem that has every line of before, and holes where it gave blocks back', async () => {
        await waitFor('30 lines', async () => (await lastLine()) >= 30);
        const written = await lastLine();
        await guest.sh('sync; fstrim /');
        const result = await scene.snapshot();
        expectPrecopied(result);
        const { snapshot, phases } = result.summary;
        const to = join(dir, `restored-${snapshot}`);
        expect((await scene.run('restore', snapshot ?? '', '--to', to)).stderr).toBe('');
        const image = join(to, 'ubd0.img');
        expect(await e2fsckReplayed(image)).toMatchObject({ clean: true });
        const lines = (await readFileFromImage(image, '/data/log'))?.toString().trimEnd().split('\n') ?? [];
        // `crash` is what it asked for: of a line after the last sync ext4 may have the length, and not yet the text.
        const synced = lines.slice(0, written);
        expect(synced).toEqual(Array.from({ length: written }, (_, index) => `line ${index + 1}`));
        // 192 MiB, of which 48 are the filler and 32 the writer's.
        expect(await holeKib(image)).toBeGreaterThan(64 * 1024);
        const figures = Object.fromEntries(phases.map(({ phase, facts }) => [phase, facts]));
        expect(figures.precopy).toMatchObject({ tracker, rounds: expect.any(Number) });
        expect(figures.capture).toMatchObject({ tracker, pausedBytes: expect.any(Number) });
        await expectRuns(guest);
        await expectNothingLost(scene, before);
      });
    },
  );
});
