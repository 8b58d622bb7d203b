import { readdir, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, describe, expect, test } from 'vitest';
import { canLoopMount, whyNoLoopMount, withLoopFilesystem } from '../../support/loop-filesystem.js';
import { waitFor } from '../../support/wait-for.js';
import { failure } from '../failure.js';
import { canTrace, captureChild, captureChildrenOf, traceInstancesOf, withInjected } from '../traced.js';
import { endFakeGuest } from '../armed.js';
import { whyNoTracing } from '../tracing/why-no-tracing.js';
import { idle, type PrecopyScene, type Tracker, withPrecopyScene } from './precopy-scene.js';

afterAll(endFakeGuest);

const straceable = await canTrace();
const mib = 1024 ** 2;
const trackers: Tracker[] = (await whyNoTracing()) === null ? ['traced', 'compared'] : ['compared'];
/** For what works the same with both: each case takes one of them. */
const first: Tracker = trackers[0] ?? 'compared';

async function expectNothingLeft({ dir }: PrecopyScene): Promise<void> {
  expect(captureChildrenOf(process.pid)).toEqual([]);
  expect(traceInstancesOf(process.pid)).toEqual([]);
  expect(await readdir(join(dir, 'store'))).toEqual([]);
}

/** Before a step, or while it stands still in the midst of it. */
const killedAt = [
  ['SIGKILL', 'catchUp'],
  ['SIGSTOP', 'catchUp'],
  ['SIGSTOP', 'run'],
] as const;

describe.each(trackers)('a precopy, %s, fails', (tracker) => {
  test('at once when its process is killed, whenever that is, and its target gone (fault 26)', () =>
    withPrecopyScene(tracker, {}, async (it) => {
      const { arming } = await it.inBulk();
      // It can't be taken away any more: what went wrong is told all the same.
      await rm(it.disk.targetPath);
      process.kill(captureChild(), 'SIGKILL');
      expect(await failure('CaptureFailed', arming)).toMatch(/^ubd0: .*ended unexpectedly \(SIGKILL\)$/);
      await expectNothingLeft(it);
      for (const [before, step] of killedAt) {
        const armed = await it.arm();
        await armed.catchUp(idle);
        const child = captureChild();
        process.kill(child, before);
        const work = armed[step](idle);
        process.kill(child, 'SIGKILL');
        expect(await failure('CaptureFailed', work)).toMatch(/SIGKILL/);
        // Nor does it do anything later.
        expect(await failure('CaptureFailed', armed.run(idle))).toMatch(/SIGKILL/);
        await armed.dispose();
        await rm(it.disk.targetPath);
      }
    }));

  test('by its budget when its process is stopped in the pause, and by nothing less than a kill (fault 26)', () =>
    withPrecopyScene(tracker, {}, async (it) => {
      const armed = await it.arm();
      await armed.catchUp(idle);
      process.kill(captureChild(), 'SIGSTOP');
      const deadline = new AbortController();
      const running = armed.run(deadline.signal);
      const reason = new Error('over the budget');
      deadline.abort(reason);
      await expect(running).rejects.toBe(reason);
      await waitFor('its end', () => captureChildrenOf(process.pid).length === 0);
    }));

  test('when it is called off, at whatever moment, and leaves nothing', () =>
    withPrecopyScene(tracker, {}, async (it) => {
      let doneBytes = 0;
      const inBulk = () => waitFor('the bulk copy', () => doneBytes > 0, { everyMs: 1 });
      const moments: (() => Promise<unknown>)[] = [
        async () => {},
        () => sleep(20),
        () => waitFor('its process', () => captureChildrenOf(process.pid).length > 0, { everyMs: 1 }),
        inBulk,
        () => inBulk().then(() => process.kill(captureChild(), 'SIGSTOP')),
      ];
      for (const moment of moments) {
        doneBytes = 0;
        const off = new AbortController();
        const reason = new Error('called off');
        const onProgress = (progress: { doneBytes: number }) => {
          doneBytes = progress.doneBytes;
        };
        const arming = it.arm({ bytesPerSecond: mib, signal: off.signal, onProgress });
        const failed = expect(arming).rejects.toBe(reason);
        await moment();
        off.abort(reason);
        await failed;
        await expectNothingLeft(it);
      }
    }));

  test.skipIf(!canLoopMount('ext4'))(
    `because the store is full with what the guest wrote since${whyNoLoopMount('ext4') ? ' (skipped: needs root)' : ''} (fault 29)`,
    () =>
      withLoopFilesystem({ type: 'ext4', sizeMiB: 24 }, (store) =>
        withPrecopyScene(tracker, { store }, async (it) => {
          const armed = await it.arm();
          for (let at = 8 * mib; at < 32 * mib; at += 65_536) await it.writer.obey('pwrite', at, 65_536);
          const problem = await failure('CaptureFailed', it.capture(armed));
          expect(problem).toBe('ubd0: the store has no room left (ENOSPC)');
        }),
      ),
  );
});

test.skipIf(!canLoopMount('ext4'))('a precopy fails when the store is full in the bulk copy (fault 29)', () =>
  withLoopFilesystem({ type: 'ext4', sizeMiB: 8 }, (store) =>
    withPrecopyScene(first, { store, pieces: [{ offset: 0, length: 12 * mib }] }, async (it) => {
      expect(await failure('CaptureFailed', it.arm())).toBe('ubd0: the store has no room left (ENOSPC)');
    }),
  ),
);

describe('because the source changes (fault 25), a precopy fails:', () => {
  const resize = (bytes: number) => (path: string) => truncate(path, bytes);
  const replace = (path: string) => writeFile(`${path}.new`, '').then(() => rename(`${path}.new`, path));

  // A tracer may meet first whoever makes the change: it is then given up, and the disk is looked at all the same.
  test.each([
    ['it grows', first, 'compared', resize(64 * mib + 1), `size went from ${64 * mib} to ${64 * mib + 1}`],
    ['it shrinks', 'compared', first, resize(30 * mib), `size went from ${64 * mib} to ${30 * mib}`],
    ['it is cut where data was', first, 'compared', resize(0), `size went from ${64 * mib} to 0`],
    ['it is replaced', 'compared', first, replace, 'deleted or replaced'],
  ] as const)(
    '%s in the bulk copy, %s, or before the stop, %s',
    async (_, inBulk, beforeStop, change, said) => {
      const trackingOf = (it: PrecopyScene) => (it.tracker === 'traced' ? { tracing: it.tracing(true) } : {});
      await withPrecopyScene(inBulk, {}, async (it) => {
        const { arming } = await it.inBulk(trackingOf(it));
        await change(it.disk.sourcePath);
        expect(await failure('SourceChanged', arming)).toContain(said);
      });
      await withPrecopyScene(beforeStop, {}, async (it) => {
        const armed = await it.arm(trackingOf(it));
        await change(it.disk.sourcePath);
        expect(await failure('SourceChanged', armed.catchUp(idle))).toContain(said);
      });
    },
  );
});

describe.skipIf(!straceable)(
  `on an I/O error${straceable ? '' : ' (skipped: no strace)'} a precopy fails`,
  () => {
    // Only at the file that it is about: the tracker reads as well.
    const ofDisk = ['sourcePath', ['sendfile', 'pread64'], "the disk can't be read"] as const;
    const ofStore = ['targetPath', ['sendfile', 'pwrite64'], "the store can't be written to"] as const;
    /** Which an fsync later would not tell again. */
    const ofWriteBack = ['targetPath', ['sync_file_range', 'fdatasync'], ofStore[2]] as const;
    type IoError = typeof ofDisk | typeof ofStore | typeof ofWriteBack;

    async function expectTold(
      [file, calls, problem]: IoError,
      it: PrecopyScene,
      work: () => Promise<unknown>,
    ) {
      const inject = calls.map((call) => `${call}:error=EIO`);
      const failing = () => failure('CaptureFailed', work());
      expect(await withInjected(captureChild(), inject, failing, it.disk[file])).toBe(
        `ubd0: ${problem} (EIO)`,
      );
    }

    // In the bulk copy all is as without a tracker.
    test.each<[string, Tracker, IoError]>([
      ['of the disk (fault 24)', first, ofDisk],
      ['of the store', 'compared', ofStore],
      ['of the store that could not write what it had taken', first, ofWriteBack],
    ])('%s in the bulk copy, %s', (_, tracker, error) =>
      withPrecopyScene(tracker, {}, async (it) => {
        const { arming } = await it.inBulk();
        await expectTold(error, it, () => arming);
      }),
    );

    describe.each(trackers)('in what the guest wrote since, %s,', (tracker) => {
      test.each<[string, IoError]>([
        ['of the disk (fault 24)', ofDisk],
        ['of the store', ofStore],
      ])('%s', (_, error) =>
        withPrecopyScene(tracker, {}, async (it) => {
          const armed = await it.arm();
          await it.writer.obey('pwrite', 4096, 60_000);
          await expectTold(error, it, () => it.capture(armed));
        }),
      );
    });
  },
);

test('a comparison that would take longer than the budget is refused before the stop', () =>
  withPrecopyScene('compared', {}, async (scene) => {
    const armed = await scene.arm({ budgetMs: 0 });
    await expect(armed.catchUp(idle)).rejects.toMatchObject({
      code: 'PredictedPauseOverBudget',
      facts: { guest: 'debian', method: 'precopy', budgetMs: 0, dataBytes: 8 * mib },
    });
  }));
