import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import type { ArmedCapture } from '../../../src/capture/capture.js';
import { readProcessStat } from '../../../src/process-identity.js';
import { canLoopMount, whyNoLoopMount, withLoopFilesystem } from '../../support/loop-filesystem.js';
import { builtScript } from '../../support/script-child.js';
import { waitFor } from '../../support/wait-for.js';
import { canTrace, captureChild, captureChildrenOf, withInjected } from '../traced.js';
import { whyNoTracing } from '../tracing/why-no-tracing.js';
import { failure, inBulk } from './failing.js';
import { instancesOfOurs } from './look-around.js';
import { mayCompare, type PrecopyScene, type Tracker, withPrecopyScene } from './precopy-scene.js';

const untraceable = await whyNoTracing();
const straceable = await canTrace();
const armChild = builtScript(new URL('../arm-child.ts', import.meta.url));
const mib = 1024 ** 2;
const idle = new AbortController().signal;
const trackers: Tracker[] = untraceable === null ? ['traced', 'compared'] : ['compared'];
/** For what works the same with both: each case takes one of them. */
const first: Tracker = trackers[0] ?? 'compared';

async function expectNothingLeft({ dir }: PrecopyScene): Promise<void> {
  expect(captureChildrenOf(process.pid)).toEqual([]);
  expect(instancesOfOurs()).toEqual([]);
  expect(await readdir(join(dir, 'store'))).toEqual([]);
}

describe.each(trackers)('a precopy, %s, fails', (tracker) => {
  test('at once when its process is killed, whenever that is, and leaves no target of a bulk copy (fault 26)', () =>
    withPrecopyScene(tracker, {}, async (it) => {
      const { arming } = await inBulk(it);
      process.kill(captureChild(), 'SIGKILL');
      expect(await failure('CaptureFailed', arming)).toMatch(/^ubd0: .*ended unexpectedly \(SIGKILL\)$/);
      await expectNothingLeft(it);
      const moments: ((armed: ArmedCapture, kill: () => void) => Promise<unknown>)[] = [
        async (armed, kill) => {
          kill();
          return armed.catchUp(idle);
        },
        (armed, kill) => whileHeld(kill, () => armed.catchUp(idle)),
        (armed, kill) => whileHeld(kill, () => armed.run(idle)),
      ];
      for (const killed of moments) {
        const armed = await it.arm();
        await armed.catchUp(idle);
        const child = captureChild();
        const work = killed(armed, () => process.kill(child, 'SIGKILL'));
        expect(await failure('CaptureFailed', work)).toMatch(/SIGKILL/);
        // Nor does it do anything later.
        expect(await failure('CaptureFailed', armed.run(idle))).toMatch(/SIGKILL/);
        await armed.dispose();
        await rm(it.targetPath);
      }
    }));

  test('by its budget when its process is stopped in the pause, and by nothing less than a kill', () =>
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
      const moments: (() => Promise<unknown>)[] = [
        async () => {},
        () => sleep(20),
        () => waitFor('its process', () => captureChildrenOf(process.pid).length > 0, { everyMs: 1 }),
        () => waitFor('the bulk copy', () => doneBytes > 0, { everyMs: 1 }),
        async () => {
          await waitFor('the bulk copy', () => doneBytes > 0, { everyMs: 1 });
          process.kill(captureChild(), 'SIGSTOP');
        },
      ];
      for (const moment of moments) {
        doneBytes = 0;
        const off = new AbortController();
        const reason = new Error('called off');
        const onProgress = (progress: { doneBytes: number }) => {
          doneBytes = progress.doneBytes;
        };
        const arming = it.arm({ bytesPerSecond: 4 * mib, signal: off.signal, onProgress });
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
          for (let at = it.dataBytes / mib; at < 32; at++) {
            for (let part = 0; part < 16; part++) {
              await it.writer.obey('pwrite', at * mib + part * 65_536, 65_536);
            }
          }
          const problem = await failure('CaptureFailed', it.capture(armed));
          expect(problem).toBe('ubd0: the store has no room left (ENOSPC)');
        }),
      ),
  );
});

/** Its process is killed while it stands still in the midst of this. */
function whileHeld<T>(kill: () => void, work: () => Promise<T>): Promise<T> {
  process.kill(captureChild(), 'SIGSTOP');
  const working = work();
  kill();
  return working;
}

test('a precopy fails by what went wrong, also when its target can`t be taken away any more', () =>
  withPrecopyScene('compared', {}, async (it) => {
    const { arming } = await inBulk(it);
    await rm(it.targetPath);
    process.kill(captureChild(), 'SIGKILL');
    expect(await failure('CaptureFailed', arming)).toMatch(/SIGKILL/);
  }));

test.skipIf(!canLoopMount('ext4'))('a precopy fails when the store is full in the bulk copy (fault 29)', () =>
  withLoopFilesystem({ type: 'ext4', sizeMiB: 8 }, (store) =>
    withPrecopyScene(first, { store, pieces: [{ offset: 0, length: 12 * mib }] }, async (it) => {
      const problem = await failure('CaptureFailed', it.arm());
      expect(problem).toBe('ubd0: the store has no room left (ENOSPC)');
    }),
  ),
);

describe('because the source changes (fault 25), a precopy fails:', () => {
  type Change = (scene: PrecopyScene) => Promise<void>;
  const sizes = (to: number) => new RegExp(`size went from ${64 * mib} to ${to}`);
  const resizes = (bytes: number): [Change, RegExp] => [
    ({ disk }) => truncate(disk.path, bytes),
    sizes(bytes),
  ];
  const grows = resizes(64 * mib + 1);
  const shrinks = resizes(30 * mib);
  const isCut = resizes(0);
  const isReplaced: [Change, RegExp] = [
    ({ dir, disk }) => writeFile(join(dir, 'new'), '').then(() => rename(join(dir, 'new'), disk.path)),
    /deleted or replaced/,
  ];

  // A tracer may meet first whoever makes the change: it is then given up, and the disk is looked at all the same.
  test.each<[string, Tracker, [Change, RegExp]]>([
    ['it grows', first, grows],
    ['it shrinks', 'compared', shrinks],
    ['it is cut where data was', first, isCut],
    ['it is replaced', 'compared', isReplaced],
  ])('%s in the bulk copy, %s', (_, tracker, [change, expected]) =>
    withPrecopyScene(tracker, {}, async (it) => {
      const { arming } = await inBulk(it, tracker === 'traced' ? mayCompare(it, true) : {});
      await change(it);
      expect(await failure('SourceChanged', arming)).toMatch(expected);
    }),
  );

  test.each<[string, Tracker, [Change, RegExp]]>([
    ['it grows', 'compared', grows],
    ['it shrinks', first, shrinks],
    ['it is cut where data was', 'compared', isCut],
    ['it is replaced', first, isReplaced],
  ])('%s before the stop, %s', (_, tracker, [change, expected]) =>
    withPrecopyScene(tracker, {}, async (it) => {
      const armed = await it.arm(tracker === 'traced' ? mayCompare(it, true) : {});
      await change(it);
      expect(await failure('SourceChanged', armed.catchUp(idle))).toMatch(expected);
    }),
  );
});

describe.skipIf(!straceable)(
  `on an I/O error${straceable ? '' : ' (skipped: no strace)'} a precopy fails`,
  () => {
    const ofDisk = {
      inject: ['sendfile:error=EIO', 'pread64:error=EIO'],
      path: ({ disk }: PrecopyScene) => disk.path,
      problem: "ubd0: the disk can't be read (EIO)",
    };
    const ofStore = {
      inject: ['sendfile:error=EIO', 'pwrite64:error=EIO'],
      path: ({ targetPath }: PrecopyScene) => targetPath,
      problem: "ubd0: the store can't be written to (EIO)",
    };
    /** Which an fsync later would not tell again. */
    const ofWriteBack = { ...ofStore, inject: ['sync_file_range:error=EIO', 'fdatasync:error=EIO'] };

    // Only at the file that it is about: the tracker reads as well. In the bulk copy all is as without one.
    test.each([
      ['of the disk (fault 24)', first, ofDisk],
      ['of the store', 'compared' as Tracker, ofStore],
      ['of the store that could not write what it had taken', first, ofWriteBack],
    ] as const)('%s in the bulk copy, %s', (_, tracker, { inject, path, problem }) =>
      withPrecopyScene(tracker, {}, async (it) => {
        const { arming } = await inBulk(it, { bytesPerSecond: 3 * mib });
        const failing = () => failure('CaptureFailed', arming);
        expect(await withInjected(captureChild(), inject, failing, path(it))).toBe(problem);
      }),
    );

    test.each(
      trackers.flatMap((tracker) => [
        ['of the disk (fault 24)', tracker, ofDisk] as const,
        ['of the store', tracker, ofStore] as const,
      ]),
    )('%s in what the guest wrote since, %s', (_, tracker, { inject, path, problem }) =>
      withPrecopyScene(tracker, {}, async (it) => {
        const armed = await it.arm();
        await it.writer.obey('pwrite', 4096, 60_000);
        const failing = () => failure('CaptureFailed', it.capture(armed));
        expect(await withInjected(captureChild(), inject, failing, path(it))).toBe(problem);
      }),
    );
  },
);

test('a precopy does not outlive a parent that is killed, also when it is stopped', () =>
  withPrecopyScene('compared', {}, async ({ disk, dir }) => {
    const armed = { sourcePath: disk.path, sizeBytes: 64 * mib, targetPath: join(dir, 'store', 'other.img') };
    const parent = spawn(process.execPath, [armChild, JSON.stringify({ ...armed, bytesPerSecond: mib })], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(parent.stdout, 'data');
    const [child = 0] = captureChildrenOf(parent.pid ?? 0);
    expect(child).toBeGreaterThan(0);
    process.kill(child, 'SIGSTOP');
    parent.kill('SIGKILL');
    await waitFor('the end of the capture process', () => (readProcessStat(child)?.state ?? 'Z') === 'Z');
  }));

test('a comparison that would take longer than the budget is refused before the stop', () =>
  withPrecopyScene('compared', {}, async (scene) => {
    const armed = await scene.arm({ budgetMs: 0 });
    await expect(armed.catchUp(idle)).rejects.toMatchObject({
      code: 'PredictedPauseOverBudget',
      facts: { guest: 'debian', method: 'precopy', budgetMs: 0, dataBytes: scene.dataBytes },
    });
  }));
