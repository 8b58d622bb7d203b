import { appendFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import type { CliResult } from '../support/cli.js';
import { resumeHeld, startHeldInPause } from '../support/held-job.js';
import { resultOf, setScene } from '../support/scene.js';
import { TestDaemon } from '../support/test-daemon.js';
import { waitFor } from '../support/wait-for.js';

/** What one daemon is asked for, by commands and by curl, on a real guest. */

const scene = setScene({ on: 'xfs', proxied: true });
let daemon: TestDaemon;

beforeAll(async () => {
  daemon = await TestDaemon.start(scene);
});
afterEach(async () => {
  await resumeHeld(scene.proxy);
  await scene.expectWell(daemon);
});
afterAll(() => daemon?.end());

const ctl = (...words: string[]) => scene.run('ctl', ...words);
const snapshotCount = async () => (await scene.snapshots()).length;
const startedInPause = () => startHeldInPause(scene.proxy, () => scene.startSnapshot());

async function curl(path: string, body?: object): Promise<string> {
  const socket = ['-sS', '--unix-socket', join(scene.state, 'control.sock')];
  const data = body === undefined ? [] : ['-d', JSON.stringify(body)];
  return (await execa('curl', [...socket, ...data, `http://umlsnap${path}`])).stdout;
}

const requestSnapshot = async () =>
  JSON.parse(await curl('/requests', { type: 'snapshot', id: 42, text: 'debian' }));

/** What a command said, but for what differs from run to run. */
function shapeOf({ exitCode, json, stderr, stdout }: CliResult) {
  const shapes = json.map((object) => [object.type, object.phase ?? object.code, Object.keys(object).sort()]);
  return { exitCode, stderr, said: json.length === 0 ? stdout : shapes };
}

test('a command has it done by the daemon, and says the same, with the same exit code, as alone, once its config is not the very same', async () => {
  await appendFile(scene.config, '\n');
  const alone = await scene.variant({ pauseBudget: '50s' });
  for (const [args, exitCode, kind] of [
    [['snapshot', 'debian', '--json', '--label', 'by=daemon'], 0, 'backup'],
    [['verify', 'debian@latest'], 0, 'verify'],
    [['prune', '--dry-run'], 0, null],
    [['verify', 'debian@20200101T000000Z', '--json'], 10, null],
    [['snapshot', 'debian', '--json', '--capture', 'reflink', '--store', 'nowhere'], 10, null],
  ] as const) {
    const through = await scene.run(...args);
    expect(through.exitCode, through.stderr).toBe(exitCode);
    if (kind) expect(await scene.newestJob()).toMatchObject({ kind, pid: daemon.pid, trigger: 'request' });
    expect(shapeOf(through)).toEqual(shapeOf(await alone.run(...args)));
    if (kind) expect(await scene.newestJob()).toMatchObject({ kind, trigger: 'manual' });
  }
  await scene.configure({ debian: scene.settings({ pauseBudget: '50s' }) });
  await daemon.reload();
  expect((await scene.run('verify', 'debian@latest')).exitCode).toBe(0);
  expect(await scene.newestJob()).toMatchObject({ pid: daemon.pid });
});

test('a command works alone where the daemon does not listen', async () => {
  expect((await ctl('type=2')).stdout).toContain('type=2');
  expect((await scene.snapshot()).exitCode).toBe(0);
  expect(await scene.newestJob()).toMatchObject({ trigger: 'manual' });
  expect(await ctl('request', 'snapshot', 'debian')).toMatchObject({ exitCode: 75 });
  expect((await ctl('type=-255')).exitCode).toBe(0);
});

test('a command cancels the job in the daemon by Ctrl-C, and the guest is resumed first', async () => {
  const cli = await startedInPause();
  const seen = (await scene.proxy.events()).length;
  cli.kill('SIGINT');
  await cli.waitForOutput(/undoing what was begun/);
  await scene.proxy.untilSeen('go', 'request', seen);
  await resumeHeld(scene.proxy);
  const result = resultOf(await cli.exited);
  expect(result.exitCode).toBe(130);
  expect(result.summary).toMatchObject({ status: 'interrupted', resumed: true, snapshot: null });
  expect(result.summary.error?.message).toContain('SIGINT');
});

test('a command tells when the daemon is killed meanwhile, and leaves nothing paused', async () => {
  const cli = await startedInPause();
  await daemon.killed();
  await resumeHeld(scene.proxy);
  const { exitCode, json } = await cli.exited;
  expect({ exitCode, last: json.at(-1) }).toMatchObject({ exitCode: 1, last: { code: 'DaemonGone' } });
  daemon = await TestDaemon.start(scene);
  expect(await scene.newestJob()).toMatchObject({ status: 'interrupted' });
});

test('a command may be killed itself: the daemon ends what it began', async () => {
  const before = await snapshotCount();
  const cli = await startedInPause();
  const done = daemon.logged(/^backup done/).length;
  cli.kill('SIGKILL');
  await cli.exited;
  await resumeHeld(scene.proxy);
  await daemon.untilLogged(/^backup done/, done);
  expect(await snapshotCount()).toBe(before + 1);
});

test('a command finds the guest busy, or waits for it, as without a daemon; curl follows the job meanwhile, and sees no phase of the pause', async () => {
  const before = await snapshotCount();
  const first = await startedInPause();
  const { jobs } = JSON.parse(await curl('/status'));
  expect(jobs).toHaveLength(1);
  const stream = curl(`/jobs/${jobs[0].job}/progress`);
  const refused = await scene.run('snapshot', 'debian');
  expect(refused.exitCode).toBe(11);
  expect(refused.stderr).toContain(`umlsnap backup (pid ${daemon.pid})`);
  const count = (await scene.jobs()).length;
  const waiting = scene.startSnapshot('--wait');
  await waitFor('it to wait', async () => JSON.parse(await curl('/status')).requests.length === 2);
  expect(await scene.jobs()).toHaveLength(count);
  await resumeHeld(scene.proxy);
  const { exitCode, stdout } = await first.exited;
  expect([exitCode, await waiting.exited]).toMatchObject([0, { exitCode: 0, stderr: '' }]);
  expect(await snapshotCount()).toBe(before + 2);
  expect(await stream).toBe(stdout.trim());
  expect(await stream).not.toMatch(/"type":"progress".*"phase":"(stop|check|capture|go)"/);
});

test('curl gets snapshots, and hears how the guests are; those that expired are swept by the daemon, and not while it keeps them', async () => {
  const answer = await requestSnapshot();
  expect(answer).toMatchObject({ id: 42, status: 0, cut: false });
  expect(answer.output).toMatchObject([{ type: 'summary', guest: 'debian', status: 'success' }]);
  const running = { type: 'guest', guest: 'debian', state: 'running' };
  const status = await curl('/requests', { type: 'status', id: 1 });
  expect(JSON.parse(status)).toMatchObject({ status: 0, output: [running] });

  await requestSnapshot();
  expect((await ctl('keep', 'delay=1', 'debug')).stdout).toContain('delay=1, keep, debug, type=-255');
  await scene.configure({ debian: scene.settings({ keep: { last: 1 } }) });
  await daemon.reload();
  const before = await snapshotCount();
  expect(await scene.run('prune', 'debian')).toMatchObject({ exitCode: 75 });
  expect(await requestSnapshot()).toMatchObject({ status: 0 });
  expect(await snapshotCount()).toBe(before + 1);
  await ctl('nokeep');
  await daemon.untilLogged(/^sweep done$/);
  expect(await snapshotCount()).toBe(1);
  scene.forgetSnapshots();
  const swept = { kind: 'prune', trigger: 'sweep', status: 'success' };
  expect(await scene.newestJob('debian')).toMatchObject(swept);
  const jobs = (await scene.jobs()).length;
  await daemon.untilLogged(/^sweep$/, daemon.logged(/^sweep$/).length);
  expect(await scene.jobs()).toHaveLength(jobs);
});
