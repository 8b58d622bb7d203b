import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { open, readdir, rename, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { armCopy, armReflink } from '../../src/capture/arm-capture.js';
import type { ArmedCapture } from '../../src/capture/capture.js';
import { isError } from '../../src/errors.js';
import { readProcessStat } from '../../src/process-identity.js';
import { type OpenDisk, openDisk } from '../../src/image/open-disk.js';
import { allocatedBytes, makeImage } from '../image/make-image.js';
import {
  canLoopMount,
  mountLoopFilesystem,
  whyNoLoopMount,
  withLoopFilesystem,
} from '../support/loop-filesystem.js';
import { tryTool } from '../support/run-tool.js';
import { builtScript } from '../support/script-child.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';
import { canTrace, captureChild, captureChildrenOf, withInjected } from './traced.js';

const signal = new AbortController().signal;
const armChild = builtScript(new URL('./arm-child.ts', import.meta.url));
const sizeBytes = 8 * 1024 ** 2;

let dir: string;
let disk: OpenDisk;
let targetPath: string;
let capture: ArmedCapture;
beforeEach(async () => {
  dir = await makeTempDir();
  const path = join(dir, 'root.img');
  targetPath = join(dir, 'ubd0.img');
  await makeImage(path, sizeBytes, [{ offset: 0, length: sizeBytes }]);
  disk = await openDisk('debian', 'ubd0', path);
  capture = await armCopy('debian', [theDisk()]);
});
afterEach(async () => {
  await capture.dispose();
  expect(captureChildrenOf(process.pid)).toEqual([]);
  await disk.handle.close();
  await removeTempDir(dir);
});

function theDisk(device = 'ubd0', target = targetPath) {
  return { device, sourceFd: disk.handle.fd, sourcePath: disk.path, sizeBytes, targetPath: target };
}

async function failure(
  code: 'CaptureFailed' | 'SourceChanged',
  running: Promise<unknown> = capture.run(signal),
): Promise<string> {
  const thrown: unknown = await running.then(
    () => 'it succeeded',
    (error: unknown) => error,
  );
  if (isError(thrown, code)) return `${thrown.facts.device}: ${thrown.facts.problem}`;
  throw new Error(`not ${code}: ${String(thrown)}`);
}

describe('the capture process (fault 26)', () => {
  test.each(['while it waits', 'at work'])(
    'killed %s is told when the pause comes, not at its deadline',
    async (when) => {
      const child = captureChild();
      if (when === 'at work') process.kill(child, 'SIGSTOP');
      const killing = () => process.kill(child, 'SIGKILL');
      if (when === 'while it waits') killing();
      const running = failure('CaptureFailed');
      if (when === 'at work') killing();
      expect(await running).toMatch(/ubd0: the capture process ended unexpectedly \(SIGKILL\)/);
    },
  );

  test('stopped is ended by the deadline, and by nothing less than a kill', async () => {
    process.kill(captureChild(), 'SIGSTOP');
    const deadline = new AbortController();
    const running = capture.run(deadline.signal);
    const reason = new Error('over the budget');
    deadline.abort(reason);
    await expect(running).rejects.toBe(reason);
    await waitFor('its end', () => captureChildrenOf(process.pid).length === 0);
  });

  test('ignores the signals that a terminal or a service manager sends to the whole group', async () => {
    for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.kill(captureChild(), name);
    expect((await capture.run(signal)).size).toBe(1);
  });

  test('does nothing at all when the deadline has passed already', async () => {
    await expect(capture.run(AbortSignal.abort(new Error('late')))).rejects.toThrow('late');
    const target = await open(targetPath);
    expect((await target.stat()).size).toBe(0);
    await target.close();
  });
});

test('a capture process does not outlive a parent that is killed, also when it is stopped', async () => {
  const armed = { sourcePath: disk.path, sizeBytes, targetPath: join(dir, 'other.img') };
  const parent = spawn(process.execPath, [armChild, JSON.stringify(armed)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(parent.stdout, 'data');
  const [child = 0] = captureChildrenOf(parent.pid ?? 0);
  expect(child).toBeGreaterThan(0);
  process.kill(child, 'SIGSTOP');
  parent.kill('SIGKILL');
  await waitFor('the end of the capture process', () => readProcessStat(child) === undefined);
});

test('a copy that is slower than the budget is cut in the middle (fault 23)', async () => {
  const slow = { device: 'ubd1', sourcePath: join(dir, 'slow.img'), sizeBytes: 30_000 * 8192 };
  const pieces = Array.from({ length: 30_000 }, (_, index) => ({ offset: index * 8192, length: 4096 }));
  await makeImage(slow.sourcePath, slow.sizeBytes, pieces);
  const source = await open(slow.sourcePath);
  const target = join(dir, 'slow.copy');
  const copying = await armCopy('debian', [{ ...slow, sourceFd: source.fd, targetPath: target }]);
  const deadline = new AbortController();
  const reason = new Error('over the budget');
  const running = copying.run(deadline.signal);
  running.catch(() => {});
  await waitForTarget(target);
  // However late the deadline is noticed here: it has not come to its end by then.
  process.kill(captureChild(), 'SIGSTOP');
  deadline.abort(reason);
  await expect(running).rejects.toBe(reason);
  await copying.dispose();
  await source.close();
  expect(await allocatedBytes(target)).toBeLessThan(await allocatedBytes(slow.sourcePath));
});

/** Until the copy has begun: the first thing it does is to give the target its size. */
async function waitForTarget(path: string): Promise<void> {
  await waitFor('the copy to begin', async () => (await stat(path)).size > 0, { everyMs: 1 });
}

const traceable = await canTrace();
describe.skipIf(!traceable)(
  `an I/O error${traceable ? '' : ' (skipped: strace is missing or may not trace)'}`,
  () => {
    test.each([
      ['disk, and is not taken for zeros (fault 24)', 'pread64:error=EIO', "the disk can't be read (EIO)"],
      ['store', 'pwrite64:error=EIO:when=3', "the store can't be written to (EIO)"],
    ])('fails the capture when it is of the %s', async (_, fault, expected) => {
      const faults = ['sendfile:error=EIO', fault];
      const problem = await withInjected(captureChild(), faults, () => failure('CaptureFailed'));
      expect(problem).toBe(`ubd0: ${expected}`);
    });

    test('a kernel that does not copy by itself is done without', async () => {
      await withInjected(captureChild(), ['sendfile:error=EINVAL'], () => capture.run(signal));
      expect((await tryTool('cmp', [disk.path, targetPath])).output).toBe('');
    });

    test('a source that is written to meanwhile makes the capture void (fault 25)', async () => {
      await withInjected(captureChild(), ['sendfile:delay_enter=300000'], async () => {
        const running = failure('SourceChanged');
        await waitForTarget(targetPath);
        await writeFile(disk.path, 'late', { flag: 'r+' });
        expect(await running).toBe('ubd0: it was written to');
      });
    });
  },
);

describe('a source that changed since it was checked makes the capture void (fault 25)', () => {
  test.each([
    ['grown', () => truncate(disk.path, sizeBytes + 1), /size went from 8388608 to 8388609/],
    ['shrunk', () => truncate(disk.path, 0), /size went from 8388608 to 0/],
    [
      'replaced',
      () => writeFile(join(dir, 'new'), '').then(() => rename(join(dir, 'new'), disk.path)),
      /deleted or replaced/,
    ],
    ['deleted', () => rm(disk.path), /deleted or replaced/],
  ])('%s', async (_, change, expected) => {
    await change();
    expect(await failure('SourceChanged')).toMatch(expected);
  });
});

test('a target that is there already is never written over, and those made before it go again', async () => {
  const fresh = join(dir, 'ubd1.img');
  const arming = armCopy('debian', [theDisk('ubd1', fresh), theDisk('ubd2', disk.path)]);
  await expect(arming).rejects.toMatchObject({ code: 'CaptureFailed', facts: { device: 'ubd2' } });
  expect(await readdir(dir)).toEqual(['root.img', 'ubd0.img']);
});

describe.skipIf(!canLoopMount('ext4'))(
  `on a small ext4${whyNoLoopMount('ext4') ? ' (skipped: needs root)' : ''}`,
  () => {
    let small: Awaited<ReturnType<typeof mountLoopFilesystem>>;
    beforeAll(async () => {
      small = await mountLoopFilesystem({ type: 'ext4', sizeMiB: 8, inodes: 16 });
    });
    afterAll(() => small.remove());

    async function failing(arming: Promise<ArmedCapture>): Promise<string> {
      const armed = await arming;
      try {
        return await failure('CaptureFailed', armed.run(signal));
      } finally {
        await armed.dispose();
      }
    }

    test('a reflink that is impossible after all fails by name before the guest is stopped (fault 22)', async () => {
      const path = join(small.mountPoint, 'source');
      await makeImage(path, sizeBytes, [{ offset: 0, length: 4096 }]);
      const source = await openDisk('debian', 'ubd3', path);
      const there = { ...theDisk('ubd3', join(small.mountPoint, 'clone')), sourceFd: source.handle.fd };
      expect(await failure('CaptureFailed', armReflink('debian', [there]))).toBe(
        'ubd3: the file system has no reflinks',
      );
      await source.handle.close();
      const elsewhere = theDisk('ubd0', join(small.mountPoint, 'far'));
      expect(await failure('CaptureFailed', armReflink('debian', [elsewhere]))).toMatch(
        /different file systems/,
      );
      expect(await readdir(small.mountPoint)).toEqual(['lost+found', 'source']);
    });

    test('a store that is full at a write fails the capture, and all disks with it (fault 29)', async () => {
      const first = theDisk('ubd0', join(dir, 'first.img'));
      const second = theDisk('ubd1', join(small.mountPoint, 'too-much'));
      expect(await failing(armCopy('debian', [first, second]))).toBe(
        'ubd1: the store has no room left (ENOSPC)',
      );
    });

    test('a store without inodes refuses before the guest is stopped (fault 30)', async () => {
      const disks = Array.from({ length: 16 }, (_, index) =>
        theDisk(`ubd${index}`, join(small.mountPoint, `inode${index}`)),
      );
      const before = await readdir(small.mountPoint);
      await expect(armCopy('debian', disks)).rejects.toThrow(/no room left \(ENOSPC\)/);
      expect(await readdir(small.mountPoint)).toEqual(before);
    });
  },
);

describe.skipIf(!canLoopMount('xfs') || !traceable)('on xfs', () => {
  test('a reflink that is refused only during the pause fails by name (fault 22)', async () => {
    await withLoopFilesystem({ type: 'xfs', sizeMiB: 300 }, async (place) => {
      const path = join(place, 'source');
      await makeImage(path, sizeBytes, [{ offset: 0, length: 4096 }]);
      const source = await openDisk('debian', 'ubd4', path);
      const there = { ...theDisk('ubd4', join(place, 'clone')), sourceFd: source.handle.fd };
      const armed = await armReflink('debian', [there]);
      const problem = await withInjected(captureChild(), ['ioctl:error=EOPNOTSUPP'], () =>
        failure('CaptureFailed', armed.run(signal)),
      );
      expect(problem).toBe('ubd4: the file system has no reflinks');
      await armed.dispose();
      await source.handle.close();
    });
  });
});
