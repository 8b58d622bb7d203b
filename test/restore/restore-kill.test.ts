import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { copyFile, mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import type { InPlaceTarget } from '../../src/restore/in-place-plan.js';
import type { RestoreSource } from '../../src/restore/restore-source.js';
import { canTrace } from '../capture/traced.js';
import { makeImage, sha256sum } from '../image/make-image.js';
import { lookAfterEachCall, someOf } from '../support/each-call.js';
import { heard } from '../support/heard.js';
import { pidOf } from '../support/pid-of.js';
import { runTool } from '../support/run-tool.js';
import { builtScript } from '../support/script-child.js';
import { roomInMemory } from '../support/temp-dir.js';
import { tempDirOfFile } from '../support/temp-dir-of-file.js';
import { storeSnapshot } from './stored-snapshot.js';

const image = { sizeBytes: 3_000_007, pieces: [{ offset: 1_000_000, length: 1_500_000 }] };

/** A restore in a process of its own, so that it can be killed. */
const script = builtScript(new URL('./restore-child.ts', import.meta.url));

const traceable = process.getuid?.() === 0 && (await canTrace());

const dir = tempDirOfFile(await roomInMemory());
let store: string;
let disks: string;
let source: RestoreSource;
let targets: InPlaceTarget[];
let olds: string[];
beforeAll(async () => {
  store = join(dir, 'store');
  disks = join(dir, 'disks');
  const base = join(disks, 'base.img');
  source = await storeSnapshot(store, [
    { device: 'ubd0', image },
    { device: 'ubd1', image, backing: { path: base, image, mtime: '2025-06-07T08:09:10.123Z' } },
  ]);
  targets = [
    { device: 'ubd0', path: join(disks, 'root.img') },
    { device: 'ubd1', path: join(disks, 'data.cow'), backingPath: base },
  ];
  for (const { device } of targets)
    await makeImage(join(dir, device), 100_000, [{ offset: 0, length: 9000 }]);
  olds = await Promise.all(targets.map(({ device }) => sha256sum(join(dir, device))));
});

/** Old disks in their places, of which we keep a name elsewhere. */
async function putOldDisks(): Promise<void> {
  await rm(disks, { recursive: true, force: true });
  await mkdir(disks);
  for (const { device, path } of targets) await copyFile(join(dir, device), path);
}

/** Runs a restore to its end or its death, and looks while it stands still after each call that changes something. */
async function restore(look: (nth: number, pid: number) => Promise<unknown>) {
  const asked = JSON.stringify({ store, manifest: source.manifest, targets });
  // One pool thread: what two do at once has no order.
  const env = { ...process.env, UV_THREADPOOL_SIZE: '1', NODE_OPTIONS: '' };
  // Alone in its /proc: it looks at every process there, and each look is slow under strace.
  const alone = ['--pid', '--fork', '--mount-proc', '--kill-child=SIGKILL'];
  const restoring = spawn('unshare', [...alone, process.execPath, script, asked], { env });
  const said = heard(restoring.stdout);
  const ended = once(restoring, 'close');
  await Promise.race([once(restoring.stdout, 'data'), ended]);
  const pid = Number(readFileSync(`/proc/${pidOf(restoring)}/task/${pidOf(restoring)}/children`, 'utf8'));
  const go = () => restoring.stdin.end('go');
  const places = await lookAfterEachCall(pid, go, (nth) => look(nth, pid));
  await ended;
  if (said().includes('failed')) throw new Error(said());
  return { places, isDone: said().includes('done') };
}

/** What lies there after a kill, held against the promise. @returns how many disks are the new ones */
async function expectWholeDisks(): Promise<number> {
  const present = await readdir(disks);
  const sumOf = (name: string) => sha256sum(join(disks, name));
  const stored = source.manifest.disks;
  if (present.includes('base.img')) expect(await sumOf('base.img')).toBe(stored[1]?.backing?.sha256);
  const found = await Promise.all(targets.map(({ path }) => sha256sum(path)));
  const isNew = found.map((sha256, index) => sha256 !== olds[index]);
  for (const [index, { path }] of targets.entries()) {
    if (!isNew[index]) continue;
    expect(found[index]).toBe(stored[index]?.sha256);
    if (!isNew.includes(false)) continue;
    // As long as one disk is not the new one, every old one has a name.
    const kept = present.find((name) => name.startsWith(`${basename(path)}.before-restore-`));
    expect(await sumOf(kept ?? 'no name')).toBe(olds[index]);
  }
  return isNew.filter(Boolean).length;
}

test.skipIf(!traceable)(
  `a restore in place killed at any system call that changes something leaves every disk wholly old or wholly new, and the next one clears away what that left (fault 64)${traceable ? '' : ' (skipped: needs root and strace)'}`,
  async () => {
    await putOldDisks();
    await writeFile(join(disks, 'root.img.umlsnap-restore-12345678'), 'half a disk');
    const found: number[] = [];
    const { places, isDone } = await restore(async () => found.push(await expectWholeDisks()));
    expect(isDone).toBe(true);
    expect((await readdir(disks)).sort()).toEqual(['base.img', 'data.cow', 'root.img']);
    await runTool('cmp', [join(store, 'ubd0.img'), join(disks, 'root.img')]);
    // The kills came before, between and after the replacing: otherwise this test has proved nothing.
    expect([...new Set(found)]).toEqual([0, 1, 2]);
    for (const place of someOf(places)) {
      await putOldDisks();
      const killed = await restore(async (nth, pid) => nth >= place && process.kill(pid, 'SIGKILL'));
      expect(killed.places).toBeLessThanOrEqual(place + 1);
      await expectWholeDisks();
      expect((await restore(async () => {})).isDone).toBe(true);
      // But for an old disk that had been replaced by then, which no one may take away.
      const left = (await readdir(disks)).filter((name) => !name.includes('.before-restore-'));
      expect(left.sort()).toEqual(['base.img', 'data.cow', 'root.img']);
    }
  },
  600_000,
);
