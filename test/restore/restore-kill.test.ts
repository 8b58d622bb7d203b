import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { link, mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { RestoreSource } from '../../src/restore/restore-source.js';
import { canTrace, withInjected } from '../capture/traced.js';
import { makeImage, sha256sum } from '../image/make-image.js';
import { runTool } from '../support/run-tool.js';
import { builtScript } from '../support/script-child.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { storeSnapshot } from './stored-snapshot.js';

/** Every way in which a restore changes anything on disk; a name for each kind of machine. */
const changing = [
  'ftruncate',
  'pwrite64',
  'fsync',
  'fchmod',
  'fchown',
  'utimensat',
  'link,linkat',
  'rename,renameat',
  'renameat2',
  'unlink,unlinkat',
];
const image = { sizeBytes: 3_000_007, pieces: [{ offset: 1_000_000, length: 1_500_000 }] };

/** A restore in a process of its own, so that it can be killed. */
const script = builtScript(new URL('./restore-child.ts', import.meta.url));

const traceable = process.getuid?.() === 0 && (await canTrace());

let dir: string;
let store: string;
let disks: string;
let source: RestoreSource;
let olds: string[];
beforeAll(async () => {
  dir = await makeTempDir();
  store = join(dir, 'store');
  disks = join(dir, 'disks');
  const base = { path: join(disks, 'base.img'), image, mtime: '2025-06-07T08:09:10.123Z' };
  source = await storeSnapshot(store, [
    { device: 'ubd0', image },
    { device: 'ubd1', image, backing: base },
  ]);
  await makeImage(join(dir, 'old-0'), 100_000, [{ offset: 0, length: 100_000 }]);
  await makeImage(join(dir, 'old-1'), 200_000, [{ offset: 0, length: 200_000 }]);
  olds = await Promise.all([0, 1].map((index) => sha256sum(join(dir, `old-${index}`))));
});
afterAll(() => removeTempDir(dir));

const targets = () => [
  { device: 'ubd0', path: join(disks, 'root.img') },
  { device: 'ubd1', path: join(disks, 'data.cow'), backingPath: join(disks, 'base.img') },
];

/** Old disks in their places, of which we keep a name elsewhere. */
async function putOldDisks(): Promise<void> {
  await rm(disks, { recursive: true, force: true });
  await mkdir(disks);
  for (const [index, { path }] of targets().entries()) await link(join(dir, `old-${index}`), path);
}

/**
 * Runs the restore and kills it at the `when`th of these calls.
 * @returns false when it came to its end before
 */
async function killedAt(calls: string, when: number): Promise<boolean> {
  const asked = JSON.stringify({ store, manifest: source.manifest, targets: targets() });
  // One pool thread: strace counts each thread's calls for themselves, and each call's.
  const env = { ...process.env, UV_THREADPOOL_SIZE: '1', NODE_OPTIONS: '' };
  // Alone in its /proc: it looks at every process there, and each look is slow under strace.
  const alone = ['--pid', '--fork', '--mount-proc', '--kill-child=SIGKILL'];
  const node = [process.execPath, script, asked];
  const restore = spawn('unshare', [...alone, ...node], { env });
  let said = '';
  restore.stdout.on('data', (text: Buffer) => {
    said += text.toString();
  });
  const ended = once(restore, 'close');
  await Promise.race([once(restore.stdout, 'data'), ended]);
  await withInjected(onlyChildOf(restore.pid ?? 0), [`${calls}:signal=KILL:when=${when}`], () => {
    restore.stdin.end('go');
    return ended;
  });
  // By its own word: unshare does not pass on the signal that its child died of.
  if (said.includes('failed')) throw new Error(said);
  return !said.includes('done');
}

function onlyChildOf(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8'));
}

interface Found {
  oldDisks: number;
  newDisks: number;
}

/** What lies there after a kill, held against the promise. */
async function expectWhole(): Promise<Found> {
  const present = await readdir(disks);
  if (present.includes('base.img')) {
    expect(await sha256sum(join(disks, 'base.img'))).toBe(source.manifest.disks[1]?.backing?.sha256);
  }
  const found = await Promise.all(targets().map(({ path }) => sha256sum(path)));
  const isOld = found.map((sha256, index) => sha256 === olds[index]);
  for (const [index, sha256] of found.entries()) {
    if (!isOld[index]) expect(sha256).toBe(source.manifest.disks[index]?.sha256);
  }
  // As long as one disk is not the new one, every old one has a name.
  for (const [index, { path }] of targets().entries()) {
    if (!isOld.includes(true) || isOld[index]) continue;
    const name = present.find((one) => one.startsWith(`${basename(path)}.before-restore-`));
    expect(await sha256sum(join(disks, name ?? 'no name'))).toBe(olds[index]);
  }
  const oldDisks = isOld.filter(Boolean).length;
  return { oldDisks, newDisks: found.length - oldDisks };
}

describe.skipIf(!traceable)(
  `a restore in place${traceable ? '' : ' (skipped: needs root and strace)'}`,
  () => {
    test('killed at any system call that changes something leaves every disk wholly old or wholly new (fault 64)', async () => {
      const seen = new Set<string>();
      for (const calls of changing) {
        for (let when = 1; ; when += 1) {
          await putOldDisks();
          if (!(await killedAt(calls, when))) break;
          const { oldDisks, newDisks } = await expectWhole();
          seen.add(`${oldDisks} old, ${newDisks} new`);
          expect(when).toBeLessThan(100);
        }
      }
      // The kills came before, between and after the replacing: otherwise this test has proved nothing.
      expect([...seen].sort()).toEqual(['0 old, 2 new', '1 old, 1 new', '2 old, 0 new']);
    }, 300_000);

    test('after one that was killed clears away what that left, and needs no help', async () => {
      await putOldDisks();
      const leftover = join(disks, 'root.img.umlsnap-restore-12345678');
      await writeFile(leftover, 'half a disk');
      expect(await killedAt('fsync', 10_000)).toBe(false);
      expect((await readdir(disks)).sort()).toEqual(['base.img', 'data.cow', 'root.img']);
      await runTool('cmp', [join(store, 'ubd0.img'), join(disks, 'root.img')]);
    });
  },
);
