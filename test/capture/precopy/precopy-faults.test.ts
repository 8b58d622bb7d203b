import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { readProcessStat } from '../../../src/process-identity.js';
import { canLoopMount, whyNoLoopMount, withLoopFilesystem } from '../../support/loop-filesystem.js';
import { builtScript } from '../../support/script-child.js';
import { waitFor } from '../../support/wait-for.js';
import { canTrace, captureChild, captureChildrenOf, withInjected } from '../traced.js';
import { whyNoTracing } from '../tracing/why-no-tracing.js';
import { failure, inBulk } from './failing.js';
import { instancesOfOurs } from './look-around.js';
import { type PrecopyScene, type Tracker, withPrecopyScene } from './precopy-scene.js';

const untraceable = await whyNoTracing();
const straceable = await canTrace();
const armChild = builtScript(new URL('../arm-child.ts', import.meta.url));
const mib = 1024 ** 2;
const idle = new AbortController().signal;
const trackers: Tracker[] = untraceable === null ? ['traced', 'compared'] : ['compared'];

describe.each(trackers)('a precopy, %s, fails', (tracker) => {
  const scene = (use: (scene: PrecopyScene) => Promise<void>, store?: string) =>
    withPrecopyScene(tracker, store === undefined ? {} : { store }, use);

  test('at once when its process is killed in the bulk copy, and leaves no target (fault 26)', async () => {
    await scene(async (it) => {
      const { arming } = await inBulk(it);
      process.kill(captureChild(), 'SIGKILL');
      expect(await failure('CaptureFailed', arming)).toMatch(/^ubd0: .*ended unexpectedly \(SIGKILL\)$/);
      expect(await readdir(join(it.dir, 'store'))).toEqual([]);
      expect(instancesOfOurs()).toEqual([]);
    });
  });

  test("by what went wrong, also when its target can't be taken away any more", async () => {
    await scene(async (it) => {
      const { arming } = await inBulk(it);
      await rm(it.targetPath);
      process.kill(captureChild(), 'SIGKILL');
      expect(await failure('CaptureFailed', arming)).toMatch(/SIGKILL/);
    });
  });

  test('at once when its process is killed before a stop, in a catch-up, or in the pause', async () => {
    await scene(async (it) => {
      await it.arm().then(async (armed) => {
        process.kill(captureChild(), 'SIGKILL');
        expect(await failure('CaptureFailed', armed.catchUp(idle))).toMatch(/SIGKILL/);
        expect(await failure('CaptureFailed', armed.run(idle))).toMatch(/SIGKILL/);
        await armed.dispose();
      });
      await rm(it.targetPath);
      for (const step of ['catchUp', 'run'] as const) {
        const armed = await it.arm();
        await armed.catchUp(idle);
        const child = captureChild();
        process.kill(child, 'SIGSTOP');
        const failed = failure('CaptureFailed', armed[step](idle));
        process.kill(child, 'SIGKILL');
        expect(await failed).toMatch(/SIGKILL/);
        await armed.dispose();
        await rm(it.targetPath);
      }
    });
  });

  test('by its budget when its process is stopped in the pause, and by nothing less than a kill', async () => {
    await scene(async (it) => {
      const armed = await it.arm();
      await armed.catchUp(idle);
      process.kill(captureChild(), 'SIGSTOP');
      const deadline = new AbortController();
      const running = armed.run(deadline.signal);
      const reason = new Error('over the budget');
      deadline.abort(reason);
      await expect(running).rejects.toBe(reason);
      await waitFor('its end', () => captureChildrenOf(process.pid).length === 0);
    });
  });

  test.each([0, 20, 120, 400, 900])(
    'when it is called off after %i ms, and leaves nothing',
    async (afterMs) => {
      await scene(async (it) => {
        const off = new AbortController();
        const reason = new Error('called off');
        const arming = it.arm({ bytesPerSecond: mib, signal: off.signal });
        const failed = expect(arming).rejects.toBe(reason);
        await sleep(afterMs);
        off.abort(reason);
        await failed;
        expect(captureChildrenOf(process.pid)).toEqual([]);
        expect(instancesOfOurs()).toEqual([]);
        expect(await readdir(join(it.dir, 'store'))).toEqual([]);
      });
    },
  );

  test('when it is called off while its process is stopped', async () => {
    await scene(async (it) => {
      const off = new AbortController();
      const { arming } = await inBulk(it, { signal: off.signal });
      const failed = expect(arming).rejects.toThrow('called off');
      process.kill(captureChild(), 'SIGSTOP');
      off.abort(new Error('called off'));
      await failed;
    });
  });

  describe('because the source changes (fault 25):', () => {
    const changes: [string, (scene: PrecopyScene) => Promise<void>, RegExp][] = [
      ['it grows', ({ disk }) => truncate(disk.path, 64 * mib + 1), /size went from 67108864 to 67108865/],
      ['it shrinks', ({ disk }) => truncate(disk.path, 30 * mib), /size went from 67108864 to 31457280/],
      ['it is cut where data was', ({ disk }) => truncate(disk.path, 0), /size went from 67108864 to 0/],
      [
        'it is replaced',
        ({ dir, disk }) => writeFile(join(dir, 'new'), '').then(() => rename(join(dir, 'new'), disk.path)),
        /deleted or replaced/,
      ],
    ];

    test.each(changes)('%s in the bulk copy', async (_, change, expected) => {
      await scene(async (it) => {
        const { arming } = await inBulk(it);
        await change(it);
        expect(await failure('SourceChanged', arming)).toMatch(expected);
      });
    });

    test.each(changes)('%s before the stop', async (_, change, expected) => {
      await scene(async (it) => {
        const armed = await it.arm();
        await change(it);
        expect(await failure('SourceChanged', armed.catchUp(idle))).toMatch(expected);
      });
    });
  });

  describe.skipIf(!canLoopMount('ext4'))(
    `because the store is full${whyNoLoopMount('ext4') ? ' (skipped: needs root)' : ''} (fault 29):`,
    () => {
      test('in the bulk copy', async () => {
        await withLoopFilesystem({ type: 'ext4', sizeMiB: 16 }, (store) =>
          scene(async (it) => {
            expect(await failure('CaptureFailed', it.arm())).toBe(
              'ubd0: the store has no room left (ENOSPC)',
            );
          }, store),
        );
      });

      test('with what the guest wrote since', async () => {
        await withLoopFilesystem({ type: 'ext4', sizeMiB: 40 }, (store) =>
          scene(async (it) => {
            const armed = await it.arm();
            for (let at = 24; at < 60; at++) {
              for (let part = 0; part < 16; part++) {
                await it.writer.obey('pwrite', at * mib + part * 65_536, 65_536);
              }
            }
            expect(await failure('CaptureFailed', it.capture(armed))).toBe(
              'ubd0: the store has no room left (ENOSPC)',
            );
          }, store),
        );
      });
    },
  );

  describe.skipIf(!straceable)(`on an I/O error${straceable ? '' : ' (skipped: no strace)'}`, () => {
    // Only at the file that it is about: the tracker reads as well.
    const faults: [string, string[], (scene: PrecopyScene) => string, string][] = [
      [
        'disk (fault 24)',
        ['sendfile:error=EIO', 'pread64:error=EIO'],
        ({ disk }) => disk.path,
        "ubd0: the disk can't be read (EIO)",
      ],
      [
        'store',
        ['sendfile:error=EIO', 'pwrite64:error=EIO'],
        ({ targetPath }) => targetPath,
        "ubd0: the store can't be written to (EIO)",
      ],
    ];

    test.each(faults)('of the %s in the bulk copy', async (_, inject, fileOf, expected) => {
      await scene(async (it) => {
        const { arming } = await inBulk(it);
        const failing = () => failure('CaptureFailed', arming);
        expect(await withInjected(captureChild(), inject, failing, fileOf(it))).toBe(expected);
      });
    });

    test.each(faults)('of the %s in what the guest wrote since', async (_, inject, fileOf, expected) => {
      await scene(async (it) => {
        const armed = await it.arm();
        await it.writer.obey('pwrite', 4096, 60_000);
        const failing = () => failure('CaptureFailed', it.capture(armed));
        expect(await withInjected(captureChild(), inject, failing, fileOf(it))).toBe(expected);
      });
    });

    test('when the store could not write what it had taken, which an fsync later would not tell again', async () => {
      await scene(async (it) => {
        const { arming } = await inBulk(it);
        const inject = ['sync_file_range:error=EIO', 'fdatasync:error=EIO'];
        const problem = await withInjected(captureChild(), inject, () => failure('CaptureFailed', arming));
        expect(problem).toBe("ubd0: the store can't be written to (EIO)");
      });
    });
  });
});

test('a precopy does not outlive a parent that is killed, also when it is stopped', async () => {
  await withPrecopyScene('compared', {}, async (it) => {
    const sizeBytes = 64 * mib;
    const armed = { sourcePath: it.disk.path, sizeBytes, targetPath: join(it.dir, 'store', 'other.img') };
    const parent = spawn(process.execPath, [armChild, JSON.stringify({ ...armed, bytesPerSecond: mib })], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(parent.stdout, 'data');
    const [child = 0] = captureChildrenOf(parent.pid ?? 0);
    expect(child).toBeGreaterThan(0);
    process.kill(child, 'SIGSTOP');
    parent.kill('SIGKILL');
    await waitFor('the end of the capture process', () => isOver(child));
  });
});

function isOver(pid: number): boolean {
  return (readProcessStat(pid)?.state ?? 'Z') === 'Z';
}

test('a comparison that would take longer than the budget is refused before the stop', async () => {
  await withPrecopyScene('compared', {}, async (scene) => {
    const armed = await scene.arm({ budgetMs: 0 });
    await expect(armed.catchUp(idle)).rejects.toMatchObject({
      code: 'PredictedPauseOverBudget',
      facts: { guest: 'debian', method: 'precopy', budgetMs: 0, dataBytes: 24 * mib },
    });
  });
});
