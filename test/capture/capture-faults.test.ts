import { readdir, rename, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { CaptureDisk } from '../../src/capture/capture.js';
import { type OpenDisk, openDisk } from '../../src/image/open-disk.js';
import { readProcessStat } from '../../src/process-identity.js';
import { makeImage, withOpen } from '../image/make-image.js';
import { canLoopMount, whyNoLoopMount, withLoopFilesystem } from '../support/loop-filesystem.js';
import { tryTool } from '../support/run-tool.js';
import { startScript } from '../support/script-child.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';
import { type Armed, armCopy, armReflink, endFakeGuest } from './armed.js';
import { failure } from './failure.js';
import { canTrace, captureChild, captureChildrenOf, withInjected } from './traced.js';

const { signal } = new AbortController();
const sizeBytes = 8 * 1024 ** 2;

let dir: string;
let disk: OpenDisk;
let targetPath: string;
let capture: Armed;
beforeEach(async () => {
  dir = await makeTempDir();
  targetPath = join(dir, 'ubd0.img');
  const path = join(dir, 'root.img');
  await makeImage(path, sizeBytes, [{ offset: 0, length: sizeBytes }]);
  disk = await openDisk('debian', 'ubd0', path);
  capture = await armCopy('debian', [diskTo(targetPath)]);
});
afterEach(async () => {
  await capture.dispose();
  expect(captureChildrenOf(process.pid)).toEqual([]);
  await disk.handle.close();
  await removeTempDir(dir);
});

afterAll(endFakeGuest);

const diskTo = (target: string, device = 'ubd0') => ({
  ...{ device, sourceFd: disk.handle.fd, sizeBytes, targetPath: target },
});

describe('the capture process', () => {
  test.each([
    ['while it waits', 'SIGKILL'],
    ['at work', 'SIGSTOP'],
  ] as const)('killed %s is told when the pause comes, not at its deadline (fault 26)', async (_, before) => {
    const child = captureChild();
    process.kill(child, before);
    const running = failure('CaptureFailed', capture.run(signal));
    process.kill(child, 'SIGKILL');
    expect(await running).toBe('ubd0: the capture process ended unexpectedly (SIGKILL)');
  });

  test('ignores the signals that a terminal or a service manager sends to the whole group', async () => {
    for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.kill(captureChild(), name);
    expect((await capture.run(signal)).size).toBe(1);
  });

  test('does nothing at all when the deadline has passed already', async () => {
    await expect(capture.run(AbortSignal.abort(new Error('late')))).rejects.toThrow('late');
    expect((await stat(targetPath)).size).toBe(0);
  });

  test.each([
    ['copy', {}],
    ['precopy', { bytesPerSecond: 1024 ** 2 }],
  ])('of a %s does not outlive a parent that is killed, also when it is stopped', async (_, pace) => {
    const order = { sourcePath: disk.path, sizeBytes, targetPath: join(dir, 'other.img'), ...pace };
    const parent = startScript(new URL('./arm-child.ts', import.meta.url), [JSON.stringify(order)]);
    await parent.waitForLine('at work');
    const [child = 0] = captureChildrenOf(parent.pid);
    expect(child).toBeGreaterThan(0);
    process.kill(child, 'SIGSTOP');
    parent.kill('SIGKILL');
    await waitFor('the end of the capture process', () => (readProcessStat(child)?.state ?? 'Z') === 'Z');
  });
});

const traceable = await canTrace();
describe.skipIf(!traceable)(
  `a system call of a copy${traceable ? '' : ' (skipped: strace is missing or may not trace)'}`,
  () => {
    test.each([
      ['disk, and is not taken for zeros (fault 24)', 'pread64:error=EIO', "the disk can't be read (EIO)"],
      ['store', 'pwrite64:error=EIO:when=3', "the store can't be written to (EIO)"],
    ])('that fails by an I/O error fails the capture when it is of the %s', async (of, fault, problem) => {
      const running = () => failure('CaptureFailed', capture.run(signal));
      const faults = ['sendfile:error=EIO', fault];
      // Only at the file that it is about: a pause reads and writes others as well.
      const path = of === 'store' ? targetPath : disk.path;
      expect(await withInjected(captureChild(), faults, running, path)).toBe(`ubd0: ${problem}`);
    });

    test('by which the kernel would copy by itself is done without', async () => {
      await withInjected(captureChild(), ['sendfile:error=EINVAL'], () => capture.run(signal));
      expect((await tryTool('cmp', [disk.path, targetPath])).output).toBe('');
    });

    test('during which the disk is written to makes the capture void (fault 25)', async () => {
      const { running } = await withInjected(captureChild(), ['sendfile:delay_enter=60000000'], async () => {
        const running = failure('SourceChanged', capture.run(signal));
        // The first thing that the copy does is to give the target its size.
        await waitFor('the copy to begin', async () => (await stat(targetPath)).size > 0);
        await writeFile(disk.path, 'late', { flag: 'r+' });
        // It goes on when it is not traced any more.
        return { running };
      });
      expect(await running).toBe('ubd0: it was written to');
    });
  },
);

const replace = (path: string) => writeFile(`${path}.new`, '').then(() => rename(`${path}.new`, path));
test.each([
  ['grown', (path: string) => truncate(path, sizeBytes + 1), 'size went from 8388608 to 8388609'],
  ['shrunk', truncate, 'size went from 8388608 to 0'],
  ['replaced', replace, 'deleted or replaced'],
  ['deleted', rm, 'deleted or replaced'],
])('a source that was %s since it was checked makes the capture void (fault 25)', async (_, change, said) => {
  await change(disk.path);
  expect(await failure('SourceChanged', capture.run(signal))).toContain(said);
});

test('a target that is there already is never written over, and those made before it go again', async () => {
  const disks = [diskTo(join(dir, 'ubd1.img'), 'ubd1'), diskTo(disk.path, 'ubd2')];
  expect(await failure('CaptureFailed', armCopy('debian', disks))).toMatch(/^ubd2: .*EEXIST/);
  expect(await readdir(dir)).toEqual(['root.img', 'ubd0.img']);
});

const noReflinks = 'ubd3: the file system has no reflinks';
/** Runs `use` with a disk that lies on this filesystem, and is to be cloned there. */
async function withSource(place: string, use: (there: CaptureDisk) => Promise<void>): Promise<void> {
  await makeImage(join(place, 'source'), sizeBytes, [{ offset: 0, length: 4096 }]);
  await withOpen(join(place, 'source'), 'r', ({ fd }) =>
    use({ ...diskTo(join(place, 'clone'), 'ubd3'), sourceFd: fd }),
  );
}

describe.skipIf(!canLoopMount('ext4'))(
  `before the guest is stopped${whyNoLoopMount('ext4') ? ' (skipped: needs root)' : ''}`,
  () => {
    test('a reflink that is impossible after all fails by name (fault 22)', () =>
      withLoopFilesystem({ type: 'ext4', sizeMiB: 8 }, async (small) => {
        const elsewhere = armReflink('debian', [diskTo(join(small, 'far'))]);
        expect(await failure('CaptureFailed', elsewhere)).toMatch(/different file systems/);
        await withSource(small, async (there) => {
          expect(await failure('CaptureFailed', armReflink('debian', [there]))).toBe(noReflinks);
        });
        expect(await readdir(small)).toEqual(['lost+found', 'source']);
      }));

    test('a store without inodes fails the capture (fault 30)', () =>
      withLoopFilesystem({ type: 'ext4', sizeMiB: 8, inodes: 16 }, async (small) => {
        const disks = Array.from({ length: 16 }, (_, index) => diskTo(join(small, `inode${index}`)));
        const arming = armCopy('debian', disks);
        expect(await failure('CaptureFailed', arming)).toBe('ubd0: the store has no room left (ENOSPC)');
        expect(await readdir(small)).toEqual(['lost+found']);
      }));
  },
);

test.skipIf(!canLoopMount('ext4'))(
  'a store that is full at a write fails the capture, and all disks with it (fault 29)',
  () =>
    withLoopFilesystem({ type: 'ext4', sizeMiB: 8 }, async (small) => {
      const disks = [diskTo(join(dir, 'first.img')), diskTo(join(small, 'too-much'), 'ubd1')];
      const armed = await armCopy('debian', disks);
      const problem = await failure('CaptureFailed', armed.run(signal));
      expect(problem).toBe('ubd1: the store has no room left (ENOSPC)');
      await armed.dispose();
    }),
);

test.skipIf(!canLoopMount('xfs') || !traceable)(
  'a reflink that is refused only during the pause fails by name (fault 22)',
  () =>
    withLoopFilesystem({ type: 'xfs', sizeMiB: 300 }, (place) =>
      withSource(place, async (there) => {
        const armed = await armReflink('debian', [there]);
        const running = () => failure('CaptureFailed', armed.run(signal));
        const refusal = ['ioctl:error=EOPNOTSUPP'];
        expect(await withInjected(captureChild(), refusal, running, there.targetPath)).toBe(noReflinks);
        await armed.dispose();
      }),
    ),
);
