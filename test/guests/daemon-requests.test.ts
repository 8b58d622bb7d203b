import { appendFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { resultOf } from '../snapshot/scene.js';
import { holdNextPause, resumeHeld, untilHeldInPause } from '../support/held-job.js';
import { type MconsoleProxy, startMconsoleProxy } from '../support/mconsole-proxy.js';
import type { RealGuest } from '../support/real-guest.js';
import { TestDaemon } from '../support/test-daemon.js';
import { type GuestSettings, settingsOf, TestHouse } from '../support/test-house.js';
import { waitFor } from '../support/wait-for.js';

/** What a daemon is asked for, by commands and by curl, on a real guest. */

let house: TestHouse;
let guest: RealGuest;
let proxy: MconsoleProxy;
let daemon: TestDaemon;

beforeAll(async () => {
  house = await TestHouse.build();
  guest = await house.boot();
  proxy = await startMconsoleProxy({ listenPath: join(house.dir, 'p'), guestSocketPath: guest.socketPath });
});
afterAll(async () => {
  await proxy.close();
  await house.remove();
});
beforeEach(async () => {
  await house.configure({ one: one() });
  daemon = await TestDaemon.start(house);
});
afterEach(async () => {
  try {
    await resumeHeld(proxy);
    if (house.processes().includes(daemon.pid)) await daemon.end();
    await house.expectAllWell();
  } finally {
    house.killCommands();
  }
});

const one = (more: Record<string, unknown> = {}): GuestSettings =>
  settingsOf(guest, { mconsole: proxy.socketPath, ...more });
const snapshot = (...options: string[]) => house.run(['snapshot', 'one', '--json', ...options]);
const ctl = (...words: string[]) => house.run(['ctl', ...words]);
const snapshotCount = async () => (await house.listed()).length;

async function curl(path: string, body?: object): Promise<string> {
  const socket = ['-sS', '--unix-socket', join(house.state, 'control.sock')];
  const data = body === undefined ? [] : ['-d', JSON.stringify(body)];
  return (await execa('curl', [...socket, ...data, `http://umlsnap${path}`])).stdout;
}

describe('a command, while a daemon runs', () => {
  test('has it done by the daemon, and says the same as without one, with the same exit code', async () => {
    const through = await snapshot('--label', 'by=daemon');
    expect(await house.newestJob('one')).toMatchObject({ pid: daemon.pid, trigger: 'request' });
    const verified = await house.run(['verify', 'one@latest']);
    expect(await house.newestJob('one')).toMatchObject({ pid: daemon.pid, kind: 'verify' });
    const pruned = await house.run(['prune', '--dry-run']);
    const unknown = await house.run(['verify', 'one@20200101T000000Z', '--json']);
    const impossible = await snapshot('--capture', 'reflink', '--budget', '1ms', '--store', 'nowhere');
    await daemon.end();

    const alone = await snapshot('--label', 'by=daemon');
    expect(await house.newestJob('one')).toMatchObject({ trigger: 'manual' });
    const shape = ({ exitCode, json, stderr }: typeof alone) => ({
      exitCode,
      stderr,
      objects: json.map((object) => [object.type, object.phase ?? object.code, Object.keys(object).sort()]),
    });
    expect(shape(through)).toEqual(shape(alone));
    expect(resultOf(through).summary).toMatchObject({ status: 'success', error: null });
    expect(verified).toMatchObject(await house.run(['verify', 'one@latest']).then(withoutName));
    const head = ({ stdout }: typeof alone) => stdout.split('\n')[0]?.split(/\s+/);
    expect(head(pruned)).toEqual(head(await house.run(['prune', '--dry-run'])));
    expect(shape(unknown)).toEqual(shape(await house.run(['verify', 'one@20200101T000000Z', '--json'])));
    expect(shape(impossible)).toEqual(
      shape(await snapshot('--capture', 'reflink', '--budget', '1ms', '--store', 'nowhere')),
    );
  });

  test('works alone as soon as its config is not the very same, and beside the daemon', async () => {
    await appendFile(house.configFile, '\n');
    expect((await snapshot()).exitCode).toBe(0);
    expect(await house.newestJob('one')).toMatchObject({ pid: daemon.pid });
    await house.configure({ one: one({ pauseBudget: '50s' }) });
    expect((await snapshot()).exitCode).toBe(0);
    expect(await house.newestJob('one')).toMatchObject({ trigger: 'manual' });
    await daemon.reload();
    expect((await snapshot()).exitCode).toBe(0);
    expect(await house.newestJob('one')).toMatchObject({ pid: daemon.pid });
  });

  test('works alone where the daemon does not listen', async () => {
    expect((await ctl('type=2')).stdout).toContain('type=2');
    expect((await snapshot()).exitCode).toBe(0);
    expect(await house.newestJob('one')).toMatchObject({ trigger: 'manual' });
    expect(await ctl('request', 'snapshot', 'one')).toMatchObject({ exitCode: 75 });
  });

  test('cancels the job in the daemon by Ctrl-C, and the guest is resumed first', async () => {
    await holdNextPause(proxy);
    const cli = house.start(['snapshot', 'one', '--json']);
    await untilHeldInPause(proxy);
    cli.kill('SIGINT');
    await cli.waitForOutput(/undoing what was begun/);
    await resumeHeld(proxy);
    const result = resultOf(await cli.exited);
    expect(result.exitCode).toBe(130);
    expect(result.summary).toMatchObject({ status: 'interrupted', resumed: true, snapshot: null });
    expect(result.summary.error?.message).toContain('SIGINT');
  });

  test('tells when the daemon is killed meanwhile, and leaves nothing paused', async () => {
    await holdNextPause(proxy);
    const cli = house.start(['snapshot', 'one', '--json']);
    await untilHeldInPause(proxy);
    await daemon.killed();
    await resumeHeld(proxy);
    const { exitCode, json } = await cli.exited;
    expect({ exitCode, last: json.at(-1) }).toMatchObject({ exitCode: 1, last: { code: 'DaemonGone' } });
    expect(await house.newestJob('one')).toMatchObject({ status: 'interrupted' });
  });

  test('may be killed itself: the daemon ends what it began', async () => {
    const before = await snapshotCount();
    await holdNextPause(proxy);
    const cli = house.start(['snapshot', 'one', '--json']);
    await untilHeldInPause(proxy);
    cli.kill('SIGKILL');
    await cli.exited;
    await resumeHeld(proxy);
    await daemon.untilLogged(/^backup done/);
    expect(await snapshotCount()).toBe(before + 1);
  });

  test('finds the guest busy, or waits for it, as without a daemon', async () => {
    const before = await snapshotCount();
    await holdNextPause(proxy);
    const first = house.start(['snapshot', 'one', '--json']);
    await untilHeldInPause(proxy);
    expect(await snapshot()).toMatchObject({ exitCode: 11 });
    const waiting = house.start(['snapshot', 'one', '--json', '--wait']);
    await waitFor('it to wait', async () => JSON.parse(await curl('/status')).requests.length === 2);
    await resumeHeld(proxy);
    expect([(await first.exited).exitCode, (await waiting.exited).exitCode]).toEqual([0, 0]);
    expect(await snapshotCount()).toBe(before + 2);
  });
});

describe('curl', () => {
  test('gets a snapshot with its exit status, and one without an answer', async () => {
    const answer = JSON.parse(await curl('/requests', { type: 'snapshot', id: 42, text: 'one' }));
    expect(answer).toMatchObject({ id: 42, status: 0, cut: false });
    expect(answer.output).toMatchObject([{ type: 'summary', guest: 'one', status: 'success' }]);
    const done = daemon.logged(/^backup done$/).length;
    expect(await curl('/requests', { type: 1, id: 0, text: 'one' })).toBe('');
    await daemon.untilLogged(/^backup done$/, done);
  });

  test('follows a job that a command has begun, and sees no phase of the pause', async () => {
    await holdNextPause(proxy);
    const cli = house.start(['snapshot', 'one', '--json']);
    await untilHeldInPause(proxy);
    const { jobs } = JSON.parse(await curl('/status'));
    const stream = curl(`/jobs/${jobs[0].job}/progress`);
    await resumeHeld(proxy);
    const { stdout } = await cli.exited;
    expect(await stream).toBe(stdout.trim());
    expect(await stream).not.toMatch(/"type":"progress".*"phase":"(stop|sync|capture|go)"/);
  });

  test('hears how the guests are', async () => {
    const answer = JSON.parse(await curl('/requests', { type: 'status', id: 1 }));
    expect(answer).toMatchObject({ status: 0, output: [{ type: 'guest', guest: 'one', state: 'running' }] });
  });
});

describe('keep and delay', () => {
  test('expired snapshots are swept by the daemon, and not while it keeps them', async () => {
    for (let count = 0; count < 3; count++) await snapshot();
    expect((await ctl('keep', 'delay=1')).stdout).toContain('delay=1, keep, nodebug, type=-255');
    await house.configure({ one: one({ keep: { last: 1 } }) });
    await daemon.reload();
    const before = await snapshotCount();
    expect(await house.run(['prune', 'one'])).toMatchObject({ exitCode: 75 });
    expect((await snapshot()).exitCode).toBe(0);
    await ctl('debug');
    expect(await snapshotCount()).toBe(before + 1);
    await ctl('nokeep');
    await daemon.untilLogged(/^sweep done$/);
    expect(await snapshotCount()).toBe(1);
    expect(await house.newestJob('one')).toMatchObject({
      kind: 'prune',
      trigger: 'sweep',
      status: 'success',
    });
    const jobs = (await house.jobs('one')).length;
    await daemon.untilLogged(/^sweep$/);
    expect(await house.jobs('one')).toHaveLength(jobs);
  });
});

/** What a command printed, but for what differs from run to run. */
function withoutName({
  exitCode,
  stderr,
  stdout,
}: {
  exitCode: number | null;
  stderr: string;
  stdout: string;
}) {
  return { exitCode, stderr, stdout: expect.stringContaining(stdout.trim().split(' ').slice(1).join(' ')) };
}
