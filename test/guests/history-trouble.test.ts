import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from '@photostructure/sqlite';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { CliResult } from '../support/cli.js';
import { resumeHeld, startHeldInPause } from '../support/held-job.js';
import { type LoopFilesystem, mountLoopFilesystem, whyNoLoopMount } from '../support/loop-filesystem.js';
import { type MconsoleProxy, startMconsoleProxy } from '../support/mconsole-proxy.js';
import type { RealGuest } from '../support/real-guest.js';
import { runTool, tryTool } from '../support/run-tool.js';
import { expectRunning, settingsOf, TestHouse } from '../support/test-house.js';
import { waitFor } from '../support/wait-for.js';

/** Guests and snapshots come first: a history in trouble costs no guest a pause, and no snapshot its restore. */

let house: TestHouse;
let guest: RealGuest;
let proxy: MconsoleProxy;
let restores = 0;

beforeAll(async () => {
  house = await TestHouse.build();
  guest = await house.boot();
  proxy = await startMconsoleProxy({ listenPath: join(house.dir, 'p'), guestSocketPath: guest.socketPath });
  await configure();
  await takeSnapshot();
});
afterAll(async () => {
  await proxy.close();
  await house.remove();
});
afterEach(() => house.expectAllWell());

const configure = () => house.configure({ one: settingsOf(guest, { mconsole: proxy.socketPath }) });
const historyFile = () => join(house.state, 'history.db');
const stopsSent = async () => (await proxy.events()).filter(({ command }) => command === 'stop').length;
const recordedSnapshots = async () =>
  (await house.withHistory((history) => history.snapshots({}))).map(({ snapshot }) => snapshot).sort();

async function takeSnapshot(): Promise<void> {
  expect(await house.run(['snapshot', 'one'])).toMatchObject({ exitCode: 0, stderr: '' });
}

/** The history's file and what belongs to it. */
const historyFiles = async () =>
  (await readdir(house.state)).filter((name) => /^history\.db(-wal|-shm)?$/.test(name));

async function setAside(): Promise<void> {
  await mkdir(join(house.state, 'aside'), { recursive: true });
  for (const name of await historyFiles())
    await rename(join(house.state, name), join(house.state, 'aside', name));
}

async function putBack(): Promise<void> {
  for (const name of await historyFiles()) await rm(join(house.state, name));
  for (const name of await readdir(join(house.state, 'aside'))) {
    await rename(join(house.state, 'aside', name), join(house.state, name));
  }
}

/** As another process of the host would, an editor of the database or a backup of it. */
function lockHistory(): { release(): void } {
  const database = new DatabaseSync(historyFile());
  database.exec('begin immediate');
  return {
    release: () => {
      database.exec('rollback');
      database.close();
    },
  };
}

/** Refused before the guest is touched, while what is in the store can be seen and restored. */
async function expectUsableWithoutHistory(problem: RegExp): Promise<void> {
  const stops = await stopsSent();
  const refused = await house.run(['--json', 'snapshot', 'one']);
  expect(refused).toMatchObject({ exitCode: 1, json: [{ type: 'error', code: 'HistoryUnusable' }] });
  expect(refused.stderr).toMatch(problem);
  expect(await stopsSent()).toBe(stops);
  await expectRunning(guest);

  const listed = await house.run(['list', '--json']);
  expect(listed).toMatchObject({ exitCode: 3, stderr: expect.stringMatching(problem) });
  expect(listed.json.length).toBeGreaterThan(0);
  for (const { state } of listed.json) expect(state).toBe('sound');

  expectDoneWithWarning(await house.run(['--json', 'verify', 'one@latest']), problem);
  const to = join(house.dir, `restored${++restores}`);
  await mkdir(to);
  expectDoneWithWarning(await house.run(['--json', 'restore', 'one@latest', '--to', to]), problem);
  expect(existsSync(join(to, 'ubd0.img'))).toBe(true);
  expect(await house.run(['recover'])).toMatchObject({ exitCode: 1, stderr: expect.stringMatching(problem) });
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
    const lock = lockHistory();
    const cli = house.start(['--json', 'snapshot', 'one']);
    await expect(cli.waitForOutput(/./, 3000)).rejects.toThrow(/in vain/);
    expect(await stopsSent()).toBe(stops);
    await expectRunning(guest);
    lock.release();
    expect(await cli.exited).toMatchObject({ exitCode: 0, stderr: '' });
    expect((await house.newestJob()).status).toBe('success');
  });

  test('in the pause keeps the job waiting after it: the guest is resumed at once, and the snapshot succeeds', async () => {
    const cli = await startHeldInPause(proxy, () => house.start(['--json', 'snapshot', 'one']));
    const lock = lockHistory();
    await resumeHeld(proxy);
    await expectRunning(guest);
    await expect(cli.waitForOutput(/"phase":"seal"/, 3000)).rejects.toThrow(/in vain/);
    await expectRunning(guest);
    lock.release();
    const { exitCode, json } = await cli.exited;
    expect(exitCode).toBe(0);
    expect(json.at(-1)?.pausedMs).toBeLessThan(3000);
  });
});

describe('a damaged history', () => {
  for (const [what, damage] of [
    ['whose first page is garbage', (bytes: Buffer) => bytes.fill('garbage ', 0, 4096)],
    ['cut off in its middle', (bytes: Buffer) => bytes.subarray(0, 8192)],
    ['whose tables are garbage', (bytes: Buffer) => bytes.fill('garbage ', 4096)],
  ] as const) {
    test(`${what} keeps a snapshot from being taken, and none from being listed, verified or restored`, async () => {
      const bytes = await readFile(historyFile());
      await setAside();
      await writeFile(historyFile(), damage(bytes));
      await expectUsableWithoutHistory(/The history .* can't be used/);
      await putBack();
      await takeSnapshot();
    });
  }

  test('does not keep recover from resuming a guest, nor from telling the history when it is back', async () => {
    await proxy.hold('stop', 'answer');
    const cli = house.start(['snapshot', 'one']);
    await proxy.untilHeld('stop', 'answer');
    house.killCommands();
    await cli.exited;
    await proxy.release('stop');
    const { job } = await house.newestJob();
    await setAside();
    await writeFile(historyFile(), 'no database');

    const recovered = await house.run(['--json', 'recover']);
    expect(recovered).toMatchObject({
      exitCode: 1,
      json: [{ resumed: ['one'] }, { code: 'HistoryUnusable' }],
    });
    await expectRunning(guest);
    expect(await house.leases()).toHaveLength(1);
    await putBack();
    expect(await house.run(['recover'])).toMatchObject({ exitCode: 0, stderr: '' });
    const pauses = await house.withHistory(async (history) => (await history.job(job))?.pauses);
    expect(pauses).toMatchObject([{ endedBy: 'recover' }]);
  });
});

const whyNoMount = whyNoLoopMount('ext4');
if (whyNoMount !== undefined) console.warn(`skipped: a history on a disk in trouble: ${whyNoMount}`);

describe.skipIf(whyNoMount !== undefined)('a history on a disk of its own', () => {
  let disk: LoopFilesystem;
  let usualState: string;
  const filler = () => join(disk.mountPoint, 'filler');

  beforeAll(async () => {
    disk = await mountLoopFilesystem({ type: 'ext4', sizeMiB: 8 });
    usualState = house.state;
    house.forgetHistory();
    house.state = join(disk.mountPoint, 'state');
    await configure();
    await house.run(['recover']);
    await takeSnapshot();
  });
  afterAll(async () => {
    house.forgetHistory();
    house.state = usualState;
    await configure();
    await house.run(['recover']);
    await disk.remove();
  });

  async function fillUp(): Promise<void> {
    for (const blockSize of ['64k', '1k']) {
      const args = [`of=${filler()}`, 'if=/dev/zero', `bs=${blockSize}`, 'oflag=append', 'conv=notrunc'];
      expect((await tryTool('dd', args)).output).toMatch(/No space left/);
    }
  }

  test('that is full keeps a snapshot from being taken, and none from being restored', async () => {
    await fillUp();
    await expectUsableWithoutHistory(/The history .* can't be used/);
    await rm(filler());
    await takeSnapshot();
  });

  test('that fills up during the pause costs the snapshot, and not the guest; recover closes the rest', async () => {
    const cli = await startHeldInPause(proxy, () => house.start(['--json', 'snapshot', 'one']));
    const before = (await house.listed()).length;
    await fillUp();
    await resumeHeld(proxy);
    await expectRunning(guest);
    expect(await cli.exited).toMatchObject({
      exitCode: 1,
      stderr: expect.stringMatching(/The history .* can't be used: there is no room/),
    });
    expect(await house.incomings()).toEqual([]);
    await rm(filler());
    const { job } = await house.newestJob();
    const recovered = await house.run(['--json', 'recover']);
    expect(recovered).toMatchObject({ exitCode: 0, json: [{ closedJobs: [job] }] });
    expect(await house.listed()).toHaveLength(before);
    expect(await house.newestJob()).toMatchObject({ job, status: 'interrupted' });
  });
});

describe.skipIf(whyNoMount !== undefined)('a history that may only be read', () => {
  test('keeps a snapshot from being taken, and none from being restored', async () => {
    const [state, readOnly] = [house.state, join(house.dir, 'read-only')];
    await mkdir(readOnly);
    await runTool('mount', ['--bind', state, readOnly]);
    try {
      await runTool('mount', ['-o', 'remount,bind,ro', readOnly]);
      house.state = readOnly;
      await configure();
      await expectUsableWithoutHistory(/The history .* can't be used.*read-only/);
    } finally {
      house.state = state;
      await configure();
      await runTool('umount', [readOnly]);
    }
    await takeSnapshot();
  });
});

describe('a history that is not what the store holds', () => {
  test('deleted, it is rebuilt by recover from the manifests; until then list shows all of them', async () => {
    await takeSnapshot();
    // Whether one was verified only the history knows.
    const listed = async () =>
      (await house.listed()).map((row) => ({ ...row, verified: null, drill: null, drilledAt: null }));
    const before = await listed();
    const rows = await house.withHistory((history) => history.snapshots({}));
    house.forgetHistory();
    for (const suffix of ['', '-wal', '-shm']) await rm(`${historyFile()}${suffix}`, { force: true });
    expect(await listed()).toEqual(before);
    expect(await recordedSnapshots()).toEqual([]);

    const recovered = await house.run(['--json', 'recover']);
    expect(recovered).toMatchObject({ exitCode: 0, stderr: '' });
    expect(recovered.json).toMatchObject([{ indexed: before.map(({ snapshot }) => snapshot).reverse() }]);
    expect(await house.withHistory((history) => history.snapshots({}))).toEqual(rows);
    expect(await house.run(['recover'])).toMatchObject({ stdout: 'Nothing to recover.\n' });
    await takeSnapshot();
  });

  test('of a snapshot that was removed by hand it keeps no row in its index, once recover has run', async () => {
    await takeSnapshot();
    const [oldest] = await house.listed();
    const [name, time] = oldest?.snapshot.split('@') ?? [];
    await rm(join(house.store, `${name}`, `${time}`), { recursive: true });
    const recovered = await house.run(['--json', 'recover']);
    expect(recovered).toMatchObject({ exitCode: 0, json: [{ forgotten: [oldest?.snapshot] }] });
    expect(await recordedSnapshots()).not.toContain(oldest?.snapshot);
    expect(await house.run(['recover'])).toMatchObject({ stdout: 'Nothing to recover.\n' });
  });

  test('knows nothing of foreign files in the store, and recover leaves them as they are', async () => {
    const before = await house.listed();
    const outside = join(house.dir, 'outside');
    const foreign = [join(house.store, 'README'), join(house.store, 'one', 'notes', 'ubd0.img')];
    await mkdir(join(house.store, 'one', 'notes'));
    await mkdir(join(outside, '20200101T000000Z'), { recursive: true });
    for (const path of foreign) await writeFile(path, 'mine');
    await symlink(outside, join(house.store, 'linked'));
    await symlink(outside, join(house.store, 'one', '20200101T000000Z'));
    expect(await house.run(['recover'])).toMatchObject({ exitCode: 0, stdout: 'Nothing to recover.\n' });
    await takeSnapshot();
    expect((await house.listed()).length).toBe(before.length + 1);
    for (const path of foreign) expect(await readFile(path, 'utf8')).toBe('mine');
    await waitFor('the links', () => existsSync(join(house.store, 'linked', '20200101T000000Z')));
  });
});
