import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from '@photostructure/sqlite';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { CliResult, RunningCli } from '../support/cli.js';
import { killInPause, resumeHeld, startHeldInPause } from '../support/held-job.js';
import { type LoopFilesystem, mountLoopFilesystem, whyNoLoopMount } from '../support/loop-filesystem.js';
import { runTool, tryTool } from '../support/run-tool.js';
import { expectRuns, setScene } from '../support/scene.js';

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
    for (const name of await historyFiles()) await rm(join(scene.state, name), { force: true });
    for (const name of await readdir(aside)) await rename(join(aside, name), join(scene.state, name));
  }
}

/** As by another process of the host, an editor of the database or a backup of it. */
async function whileLocked(use: () => Promise<void>): Promise<void> {
  const database = new DatabaseSync(historyFile());
  database.exec('begin immediate');
  try {
    await use();
  } finally {
    database.exec('rollback');
    database.close();
  }
}

const cantBeUsed = /The history .* can't be used/;

/** No snapshot is taken, the guest is not even touched, and those that there are can be listed, verified and restored. */
async function expectOnlyReadable(problem = cantBeUsed): Promise<void> {
  const stops = await stopsSent();
  const refused = await scene.run('snapshot', 'debian', '--json');
  expect(refused).toMatchObject({ exitCode: 1, json: [{ type: 'error', code: 'HistoryUnusable' }] });
  expect(refused.stderr).toMatch(problem);
  expect(await stopsSent()).toBe(stops);
  await expectRuns(scene.guest);

  const listed = await scene.run('list', '--json');
  expect(listed).toMatchObject({ exitCode: 3, stderr: expect.stringMatching(problem) });
  expect(listed.json.map(({ state }) => state)).toEqual((await scene.listed()).map(() => 'sound'));

  const to = scene.path(`restored-${(await readdir(scene.dir)).length}`);
  await mkdir(to);
  expectDoneWithWarning(await scene.run('restore', 'debian@latest', '--to', to, '--json'), problem);
  expect(existsSync(join(to, 'ubd0.img'))).toBe(true);
  expectDoneWithWarning(await scene.run('verify', 'debian@latest', '--json'), problem);
}

function expectDoneWithWarning({ exitCode, json }: CliResult, problem: RegExp): void {
  expect({ exitCode, told: json.filter(({ type }) => type !== 'progress') }).toMatchObject({
    exitCode: 3,
    told: [{ type: 'summary', status: 'warning', error: null, warnings: [expect.stringMatching(problem)] }],
  });
}

test('a history that another process has locked keeps a job waiting before its pause, and the guest runs meanwhile (fault 51)', async () => {
  const stops = await stopsSent();
  let cli: RunningCli | undefined;
  await whileLocked(async () => {
    cli = scene.startSnapshot();
    await expect(cli.waitForOutput(/./, 2000)).rejects.toThrow(/in vain/);
    expect(await stopsSent()).toBe(stops);
    await expectRuns(scene.guest);
  });
  expect(await cli?.exited).toMatchObject({ exitCode: 0, stderr: '' });
  expect((await scene.newestJob()).status).toBe('success');
});

test('one that is locked in the pause keeps the job waiting after it: the guest is resumed at once, and the snapshot succeeds', async () => {
  const cli = await startHeldInPause(scene.proxy, () => scene.startSnapshot());
  await whileLocked(async () => {
    await resumeHeld(scene.proxy);
    await expectRuns(scene.guest);
    await expect(cli.waitForOutput(/"phase":"seal"/, 2000)).rejects.toThrow(/in vain/);
  });
  expect((await cli.exited).exitCode).toBe(0);
});

test.each([
  ['first page', [0, 4096]],
  ['tables', [4096]],
])('a history with garbage in its %s only keeps snapshots from being taken (fault 52)', async (_, range) => {
  const bytes = await readFile(historyFile());
  await whileReplaced(bytes.fill('garbage ', ...range), async () => {
    await expectOnlyReadable();
    const recovered = await scene.run('recover');
    expect(recovered).toMatchObject({ exitCode: 1, stderr: expect.stringMatching(cantBeUsed) });
  });
});

test('a damaged history does not keep recover from resuming a guest, nor from telling the history when it is back', async () => {
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

test('a history that was deleted is rebuilt by recover from the manifests, list shows all of them until then, and what was removed by hand is forgotten (fault 55)', async () => {
  const before = await rows();
  const names = before.map(({ snapshot }) => snapshot).sort();
  expect(names).toEqual(await scene.snapshots());
  scene.forgetHistory();
  for (const name of await historyFiles()) await rm(join(scene.state, name), { force: true });
  const { exitCode, json } = await scene.run('list', '--json');
  expect({ exitCode, json }).toMatchObject({ exitCode: 0, json: names.map(() => ({ state: 'sound' })) });
  expect(json.map(({ snapshot }) => snapshot).sort()).toEqual(names);
  expect(await rows()).toEqual([]);
  expect(await recover()).toMatchObject({ indexed: [...names].reverse() });
  expect(await rows()).toEqual(before);

  const [oldest = '', ...others] = names;
  await rm(scene.directoryOf(oldest), { recursive: true });
  scene.forgetSnapshots();
  expect(await recover()).toMatchObject({ forgotten: [oldest] });
  expect((await rows()).map(({ snapshot }) => snapshot).sort()).toEqual(others);
  await scene.expectNothingToRecover();
});

const whyNoMount = whyNoLoopMount('ext4');
if (whyNoMount !== undefined) console.warn(`skipped: a history on a disk in trouble: ${whyNoMount}`);

describe.skipIf(whyNoMount !== undefined)('a history on a disk of its own', () => {
  let disk: LoopFilesystem;
  const filler = () => join(disk.mountPoint, 'filler');
  const useState = async (state: string) => {
    scene.state = state;
    await scene.configure();
  };

  beforeAll(async () => {
    disk = await mountLoopFilesystem({ type: 'ext4', sizeMiB: 8 });
    scene.forgetHistory();
    await useState(join(disk.mountPoint, 'state'));
    await takeSnapshot();
  });
  afterAll(() => disk?.remove());

  async function fillUp(): Promise<void> {
    for (const blockSize of ['64k', '1k']) {
      const args = [`of=${filler()}`, 'if=/dev/zero', `bs=${blockSize}`, 'oflag=append', 'conv=notrunc'];
      expect((await tryTool('dd', args)).output).toMatch(/No space left/);
    }
  }

  test('that is full only keeps snapshots from being taken', async () => {
    await fillUp();
    await expectOnlyReadable(/there is no room left on its filesystem\..*Guests run on\. Free some room/);
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

  test('that may only be read only keeps snapshots from being taken', async () => {
    const [state, readOnly] = [scene.state, scene.path('read-only')];
    await mkdir(readOnly);
    await runTool('mount', ['--bind', state, readOnly]);
    try {
      await runTool('mount', ['-o', 'remount,bind,ro', readOnly]);
      await useState(readOnly);
      await expectOnlyReadable(/The history .* can't be used.*read-only/);
    } finally {
      await useState(state);
      await runTool('umount', [readOnly]);
    }
  });
});
