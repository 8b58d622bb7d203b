import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { whyNoTracing } from '../capture/tracing/why-no-tracing.js';
import { allocatedBytes } from '../image/make-image.js';
import { beforeGo, startHeld } from '../support/held-job.js';
import { e2fsckReplayed, readFileFromImage } from '../support/inspect-image.js';
import { roundsOr, tellCampaign } from '../support/rounds.js';
import { runTool, tryTool } from '../support/run-tool.js';
import { capturesAtOnce, setScene } from '../support/scene.js';
import { waitFor } from '../support/wait-for.js';

/** The command line copies the disk of a real guest that writes and discards all the while, by both trackers. */

const rc = [
  'mount -o remount,discard /',
  // Random data over 16 MiB again and again, with an fsync now and then.
  '(i=0; while :; do i=$((i + 1)); [ $((i % 8)) = 0 ] && sync=,fsync || sync=; nap 0.05',
  'dd if=/dev/urandom of=/data/heavy bs=64k count=16 seek=$((i * 7 % 16 * 16)) conv=notrunc$sync 2>/dev/null; done) &',
  // Files that come and go, whose blocks are given back to the host.
  '(while :; do dd if=/dev/urandom of=/data/gone bs=64k count=32 2>/dev/null; sync; rm /data/gone; sync; nap 0.3; done) &',
];
const scene = setScene({
  guest: { writer: 'lines', sizeMiB: 96, fillMiB: 24, rc },
  proxied: true,
  settings: { capture: 'precopy', ...capturesAtOnce },
});

const lastLine = async () => Number((await scene.guest.sh('tail -n 1 /data/log')).replace('line ', ''));

const untraced = await whyNoTracing();
const rounds = roundsOr(2);

for (const tracker of ['traced', 'compared'] as const) {
  const skipped = tracker === 'traced' ? untraced : null;
  test.skipIf(skipped !== null)(
    `a guest that writes and discards is ${tracker} into what its disk is at the end of the pause, byte for byte: sound, with every line of before, and holes where it gave blocks back (fault 8)${skipped === null ? '' : ` (skipped: ${skipped})`}`,
    { timeout: 300_000 + 60_000 * rounds },
    async () => {
      const commands = await scene.variant({ precopyTracker: tracker });
      for (let round = 0; round < rounds; round++) {
        await waitFor('30 lines', async () => (await lastLine()) >= 30);
        const written = await lastLine();
        await scene.guest.sh('sync; fstrim /');
        const job = await startHeld(scene, [], commands);
        const atGo = scene.path('at-go.img');
        const { result } = await beforeGo(job, scene.proxy, async () => {
          const pausesBefore = await scene.proxy.pauses();
          await runTool('cp', ['--sparse=always', scene.guest.diskPath, atGo]);
          expect(await scene.proxy.pauses()).toEqual(pausesBefore);
        });
        // First whether it was captured at all: there is nothing to compare otherwise.
        const byTracker = expect.objectContaining({ tracker });
        expect(result.summary, result.stderr).toMatchObject({
          ...{ method: 'precopy', tracker, resumed: true, error: null },
          precopy: {
            ...{ tracker, trackerProblem: null, proof: tracker === 'traced' ? 'held' : null },
            ...{ rounds: expect.any(Number), pausedBytes: expect.any(Number) },
          },
          phases: expect.arrayContaining([
            expect.objectContaining({ phase: 'precopy', facts: byTracker }),
            expect.objectContaining({ phase: 'capture', facts: byTracker }),
          ]),
        });
        const image = join(scene.directoryOf(result.summary.snapshot), 'ubd0.img');
        const compared = await tryTool('cmp', [atGo, image]);
        expect(compared.exitCode, compared.output).toBe(0);
        expect(await e2fsckReplayed(image)).toMatchObject({ clean: true });
        const log = (await readFileFromImage(image, '/data/log'))?.toString().trimEnd().split('\n') ?? [];
        // `crash` is what it asked for: of a line after the last sync ext4 may have the length, and not yet the text.
        expect(log.slice(0, written)).toEqual(Array.from({ length: written }, (_, n) => `line ${n + 1}`));
        // 96 MiB, of which 24 are the filler and 16 the writer's.
        expect((await stat(image)).size - (await allocatedBytes(image))).toBeGreaterThan(32 * 2 ** 20);
        tellCampaign({ [`by ${tracker}`]: 1 });
      }
      await scene.expectWell();
    },
  );
}
