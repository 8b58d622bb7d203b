import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from '@photostructure/sqlite';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { CliResult } from '../support/cli.js';
import { killInPause, resumeHeld, startHeldInPause } from '../support/held-job.js';
import { type LoopFilesystem, mountLoopFilesystem, whyNoLoopMount } from '../support/loop-filesystem.js';
import { runTool, tryTool } from '../support/run-tool.js';
import { expectRuns, resultOf, setScene } from '../support/scene.js';

/** Guests and snapshots come first: a history in trouble costs no guest a pause, and no snapshot its restore. */

const scene = setScene({ on: 'xfs', proxied: true });
beforeAll(() => takeSnapshot());
afterEach(() => scene.expectWell());

async function takeSnapshot(): Promise<void> {
  expect(await scene.snapshot()).toMatchObject({ exitCode: 0, stderr: '' });
}
async function recover() {
  const { exitCode, stderr, json } = await scene.run('recover', '--json');
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
  return json[0];
}

const historyFile = () => join(scene.state, 'history.db');
/** It and what belongs to it. */
const historyFiles = async () =>
  (await readdir(scene.state)).filter((name) => /^history\.db(-wal|-shm)?$/.test(name));
const rows = () => scene.withHistory((history) => history.snapshots({}));
const stopsSent = async () => (await scene.proxy.events()).filter(({ command }) => command === 'stop').length;

/** Another file stands in the history's place while `use` runs. */
async function whileReplaced(bytes: string | Buffer, use: () => Promise<void>): Promise<void> {
  const aside = join(scene.state, 'aside');
  await mkdir(aside, { recursive: true });
  for (const name of await historyFiles()) await rename(join(scene.state, name), join(aside, name));
  await writeFile(historyFile(), bytes);
  try {
    await use();
  } finally {
    for (const name of await historyFiles()) await rm(join(scene.state, name));
    for (const name of await readdir(aside)) await rename(join(aside, name), join(scene.state, name));
  }
}

/** As another process of the host would, an editor of the database or a backup of it. */
function lockHistory(): () => void {
  const database = new DatabaseSync(historyFile());
  database.exec('begin immediate');
  return () => {
    database.exec('rollback');
    database.close();
  };
}

const cantBeUsed = /The history .* can't be used/;

/** Refused before the guest is touched. */
async function expectRefused(problem = cantBeUsed): Promise<void> {
  const stops = await stopsSent();
  const { exitCode, json, stderr } = await scene.run('snapshot', 'debian', '--json');
  expect({ exitCode, json }).toMatchObject({
    exitCode: 1,
    json: [{ type: 'error', code: 'HistoryUnusable' }],
  });
  expect(stderr).toMatch(problem);
  expect(await stopsSent()).toBe(stops);
  await expectRuns(scene.guest);
}

/** What is in the store can be restored. */
async function expectRestorable(problem = cantBeUsed): Promise<void> {
  const to = scene.path(`restored-${(await readdir(scene.dir)).length}`);
  await mkdir(to);
  expectDoneWithWarning(await scene.run('restore', 'debian@latest', '--to', to, '--json'), problem);
  expect(existsSync(join(to, 'ubd0.img'))).toBe(true);
}

async function expectListed(problem = cantBeUsed): Promise<void> {
  const { exitCode, stderr, json } = await scene.run('list', '--json');
  expect({ exitCode, stderr }).toEqual({ exitCode: 3, stderr: expect.stringMatching(problem) });
  expect(json.map(({ state }) => state)).toEqual((await scene.listed()).map(() => 'sound'));
}

function expectDoneWithWarning({ exitCode, json }: CliResult, problem: RegExp): void {
  expect({ exitCode, told: json.filter(({ type }) => type !== 'progress') }).toMatchObject({
    exitCode: 3,
    told: [{ type: 'summary', status: 'warning', error: null, warnings: [expect.stringMatching(problem)] }],
  });
}

describe('a history that another process has locked', () => {
  test('keeps a job waiting before its pause, and the guest runs meanwhile', async () => {
    const stops = await stopsSent();
    const unlock = lockHistory();
    const cli = scene.startSnapshot();
    try {
      await expect(cli.waitForOutput(/./, 2000)).rejects.toThrow(/in vain/);
      expect(await stopsSent()).toBe(stops);
      await expectRuns(scene.guest);
    } finally {
      unlock();
    }
    expect(resultOf(await cli.exited)).toMatchObject({ exitCode: 0, stderr: '' });
    expect((await scene.newestJob()).status).toBe('success');
  });

  test('in the pause keeps the job waiting after it: the guest is resumed at once, and the snapshot succeeds', async () => {
    const cli = await startHeldInPause(scene.proxy, () => scene.startSnapshot());
    const unlock = lockHistory();
    try {
      await resumeHeld(scene.proxy);
      // While the history is still locked.
      await expectRuns(scene.guest);
      await expect(cli.waitForOutput(/"phase":"seal"/, 2000)).rejects.toThrow(/in vain/);
    } finally {
      unlock();
    }
    expect(resultOf(await cli.exited).exitCode).toBe(0);
  });
});

describe('a damaged history', () => {
  test.each([
    ['whose first page is garbage', (bytes: Buffer) => bytes.fill('garbage ', 0, 4096)],
    ['cut off in its middle', (bytes: Buffer) => bytes.subarray(0, 8192)],
  ])('%s keeps a snapshot from being taken, and none from being listed', async (_, damage) => {
    await whileReplaced(damage(await readFile(historyFile())), async () => {
      await expectRefused();
      await expectListed();
    });
  });

  test('whose tables are garbage keeps a snapshot from being taken, and none from being listed, verified or restored', async () => {
    const bytes = await readFile(historyFile());
    await whileReplaced(bytes.fill('garbage ', 4096), async () => {
      await expectRefused();
      await expectListed();
      await expectRestorable();
      expectDoneWithWarning(await scene.run('verify', 'debian@latest', '--json'), cantBeUsed);
      const recovered = await scene.run('recover');
      expect(recovered).toMatchObject({ exitCode: 1, stderr: expect.stringMatching(cantBeUsed) });
    });
  });

  test('does not keep recover from resuming a guest, nor from telling the history when it is back', async () => {
    await killInPause(scene);
    const { job } = await scene.newestJob();
    await whileReplaced('no database', async () => {
      const recovered = await scene.run('recover', '--json');
      expect(recovered).toMatchObject({
        ...{ exitCode: 1, json: [{ resumed: ['debian'] }, { code: 'HistoryUnusable' }] },
      });
      await expectRuns(scene.guest);
      expect(await scene.leases()).toHaveLength(1);
    });
    await recover();
    const pauses = await scene.withHistory(async (history) => (await history.job(job))?.pauses);
    expect(pauses).toMatchObject([{ endedBy: 'recover' }]);
  });
});

const whyNoMount = whyNoLoopMount('ext4');
if (whyNoMount !== undefined) console.warn(`skipped: a history on a disk in trouble: ${whyNoMount}`);

describe.skipIf(whyNoMount !== undefined)('a history on a disk of its own', () => {
  let disk: LoopFilesystem;
  let usualState: string;
  const filler = () => join(disk.mountPoint, 'filler');
  const useState = async (state: string) => {
    scene.state = state;
    await scene.configure();
  };

  beforeAll(async () => {
    disk = await mountLoopFilesystem({ type: 'ext4', sizeMiB: 8 });
    usualState = scene.state;
    scene.forgetHistory();
    await useState(join(disk.mountPoint, 'state'));
    await takeSnapshot();
  });
  afterAll(async () => {
    scene.forgetHistory();
    await useState(usualState);
    await recover();
    await disk?.remove();
  });

  async function fillUp(): Promise<void> {
    for (const blockSize of ['64k', '1k']) {
      const args = [`of=${filler()}`, 'if=/dev/zero', `bs=${blockSize}`, 'oflag=append', 'conv=notrunc'];
      expect((await tryTool('dd', args)).output).toMatch(/No space left/);
    }
  }

  test('that is full keeps a snapshot from being taken, and none from being listed or restored', async () => {
    await fillUp();
    await expectRefused();
    await expectListed();
    await expectRestorable();
    await rm(filler());
  });

  test('that fills up during the pause costs the snapshot, and not the guest; recover closes the rest', async () => {
    const cli = await startHeldInPause(scene.proxy, () => scene.startSnapshot());
    const before = await scene.snapshots();
    await fillUp();
    await resumeHeld(scene.proxy);
    await expectRuns(scene.guest);
    const noRoom = /The history .* can't be used: there is no room/;
    expect(await cli.exited).toMatchObject({ exitCode: 1, stderr: expect.stringMatching(noRoom) });
    expect(await scene.incomings()).toEqual([]);
    await rm(filler());
    const { job } = await scene.newestJob();
    expect(await recover()).toMatchObject({ closedJobs: [job] });
    expect(await scene.snapshots()).toEqual(before);
    expect(await scene.newestJob()).toMatchObject({ job, status: 'interrupted' });
  });

  test('that may only be read keeps a snapshot from being taken, and none from being listed or restored', async () => {
    const [state, readOnly] = [scene.state, scene.path('read-only')];
    await mkdir(readOnly);
    await runTool('mount', ['--bind', state, readOnly]);
    try {
      await runTool('mount', ['-o', 'remount,bind,ro', readOnly]);
      await useState(readOnly);
      const problem = /The history .* can't be used.*read-only/;
      await expectRefused(problem);
      await expectListed(problem);
      await expectRestorable(problem);
    } finally {
      await useState(state);
      await runTool('umount', [readOnly]);
    }
  });
});

describe('a history that is not what the store holds', () => {
  test('deleted, it is rebuilt by recover from the manifests; until then list shows all of them', async () => {
    const before = await rows();
    const names = before.map(({ snapshot }) => snapshot).sort();
    expect(names).toEqual(await scene.snapshots());
    scene.forgetHistory();
    for (const name of await historyFiles()) await rm(join(scene.state, name));
    const { exitCode, json } = await scene.run('list', '--json');
    expect({ exitCode, json }).toMatchObject({ exitCode: 0, json: names.map(() => ({ state: 'sound' })) });
    expect(json.map(({ snapshot }) => snapshot).sort()).toEqual(names);
    expect(await rows()).toEqual([]);
    expect(await recover()).toMatchObject({ indexed: [...names].reverse() });
    expect(await rows()).toEqual(before);
  });

  test('of a snapshot that was removed by hand it keeps no row in its index, once recover has run', async () => {
    const [oldest = ''] = await scene.snapshots();
    await rm(scene.directoryOf(oldest), { recursive: true });
    scene.forgetSnapshots();
    expect(await recover()).toMatchObject({ forgotten: [oldest] });
    expect((await rows()).map(({ snapshot }) => snapshot)).not.toContain(oldest);
    expect(await scene.run('recover')).toMatchObject({ stdout: 'Nothing to recover.\n' });
  });

  test('knows nothing of foreign files in the store, and recover leaves them as they are', async () => {
    const before = await scene.snapshots();
    const { store } = scene;
    const outside = scene.path('outside');
    const foreign = [join(store, 'README'), join(store, 'debian', 'notes', 'ubd0.img')];
    await mkdir(join(store, 'debian', 'notes'));
    await mkdir(join(outside, '20200101T000000Z'), { recursive: true });
    for (const path of foreign) await writeFile(path, 'mine');
    await symlink(outside, join(store, 'linked'));
    await symlink(outside, join(store, 'debian', '20200101T000000Z'));
    expect(await scene.run('recover')).toMatchObject({ exitCode: 0, stdout: 'Nothing to recover.\n' });
    await takeSnapshot();
    expect(await scene.snapshots()).toHaveLength(before.length + 1);
    for (const path of foreign) expect(await readFile(path, 'utf8')).toBe('mine');
    expect(existsSync(join(store, 'linked', '20200101T000000Z'))).toBe(true);
  });
});
