import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, readdir, readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { whyNoTracing } from '../capture/tracing/why-no-tracing.js';
import { jsonLines } from '../support/cli.js';
import { drillKernel } from '../support/drill-kernel.js';
import { bootedLine } from '../support/guest-image.js';
import { BoxRefused, SystemdBox, whyNoSystemd } from '../support/systemd-box.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';

/** What the unit of docs/systemd allows and forbids is enforced by a real systemd: here it runs real jobs on a real guest. */

const root = resolve(import.meta.dirname, '../..');

function configWith(ofOne: object = {}): string {
  const guestAt = (name: string) => ({
    mconsole: `/g/${name}/.uml/${name}/mconsole`,
    disks: { ubd0: `/g/${name}/root.img` },
  });
  return JSON.stringify({
    stores: { local: { type: 'directory', path: '/srv/umlsnap' } },
    drill: { kernel, memory: '96MiB', expect: bootedLine, hold: '1s', timeout: '120s' },
    alerts: [{ mail: 'root@localhost' }],
    // Nobody has ever booted `away`: what is due every ten seconds fails every ten seconds.
    guests: {
      one: { ...guestAt('one'), ...ofOne },
      away: { ...guestAt('away'), schedule: '*/10 * * * * *' },
    },
  });
}

let why = whyNoSystemd();
if (why !== undefined) console.warn(`SKIPPED: the unit under a real systemd: ${why}`);
let dir: string;
let kernel: string;
let box: SystemdBox;

beforeAll(async () => {
  if (why !== undefined) return;
  dir = await makeTempDir();
  // Before it boots: its files are this machine's as they are then.
  kernel = await drillKernel(dir);
  await writeFile(join(dir, 'config.yaml'), configWith());
  await writeFile(join(dir, 'sendmail'), '#!/bin/sh\nexec cat >> /var/spool/letters\n', { mode: 0o755 });
  await copyFile(join(root, 'docs/systemd/umlsnap.service'), join(dir, 'umlsnap.service'));
  try {
    box = await SystemdBox.boot(dir);
  } catch (error) {
    if (!(error instanceof BoxRefused)) throw error;
    why = error.message;
    return;
  }
  await bootGuestInBox();
  const steps = [
    'mkdir -p /etc/umlsnap /srv /usr/sbin && cp "$0"/config.yaml /etc/umlsnap/',
    'rm -f /usr/sbin/sendmail && cp "$0"/sendmail /usr/sbin/',
    'cp "$0"/umlsnap.service /etc/systemd/system/ && systemctl daemon-reload',
  ];
  const { exitCode, output } = await box.run('sh', '-c', steps.join(' && '), dir);
  expect(exitCode, output).toBe(0);
});
afterAll(async () => {
  await box?.end();
  if (dir !== undefined) await removeTempDir(dir);
});

beforeEach(({ skip }) => skip(why !== undefined, why));

async function bootGuestInBox(): Promise<void> {
  const script = join(root, 'dist/test/support/boot-and-wait-child.js');
  const settings = ['env', 'UMLSNAP_TEST_CACHE=/g/cache', 'TMPDIR=/tmp'];
  const boot = ['sh', '-c', 'mkdir -p /g && cd "$0" && exec "$@"', root];
  const [file = '', ...args] = box.command(...boot, ...settings, process.execPath, script, '/g', 'one');
  const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(child, 'close').then(() => Promise.reject(new Error('the guest did not boot')));
  await Promise.race([once(child.stdout, 'data'), ended]);
  ended.catch(() => {}); // with the box, at the end
}

const umlsnap = (...args: string[]) => box.run('umlsnap', ...args);
const property = async (name: string) =>
  (await box.run('systemctl', 'show', 'umlsnap', '--value', '-p', name)).text;

/** The summary of a job that the daemon did, in its sandbox. */
async function requested(...words: string[]): Promise<Record<string, unknown>> {
  const { text, output } = await umlsnap('ctl', 'request', ...words);
  const summary = jsonLines(text).find(({ type }) => type === 'summary');
  if (summary === undefined) throw new Error(`no summary: ${output}`);
  return summary;
}

async function expectGuestRuns(): Promise<void> {
  const { text, output } = await umlsnap('--json', 'status');
  const runs = expect.objectContaining({ guest: 'one', state: 'running' });
  expect(jsonLines(text), output).toContainEqual(runs);
}

describe('under a real systemd, in the sandbox of its unit, the daemon', () => {
  test('is active once it runs the schedule', async () => {
    expect(await box.run('systemctl', 'start', 'umlsnap')).toMatchObject({ exitCode: 0, output: '' });
    expect(await property('ActiveState')).toBe('active');
    expect(await property('StatusText')).toBe('Runs the schedule of away.');
  });

  test('backs a guest up by the way that a host without a sandbox has, and the guest runs', async () => {
    const summary = await requested('snapshot', 'one');
    expect(summary).toMatchObject({ error: null, consistency: 'synced', resumed: true });
    if ((await whyNoTracing()) === null)
      expect(summary).toMatchObject({ method: 'precopy', tracker: 'traced' });
    await expectGuestRuns();
  });

  test('verifies the snapshot, with the filesystem in it, and drills it: it boots in its box', async () => {
    // A reason would be that its checker ran in no box.
    const filesystems = [{ verdict: 'sound', reason: null }];
    const well = { status: 'success', ok: 1, error: null, filesystems };
    expect(await requested('verify', 'one@latest')).toMatchObject(well);
    expect(await requested('drill', 'one@latest')).toMatchObject({ status: 'success', error: null });
  });

  test('sends its alerts by mail', async () => {
    const letters = () => readFile(box.pathOf('/var/spool/letters'), 'utf8').catch(() => '');
    const isThere = async () => /^Subject: .*away.*failed$/m.test(await letters());
    await waitFor('a letter', isThere, { limitMs: 90_000, everyMs: 200 });
    expect(await letters()).toMatch(/^To: root@localhost$/m);
  });

  test('killed in the middle of a job, is there again, and the guest runs', async () => {
    const before = await property('MainPID');
    const configFile = box.pathOf('/etc/umlsnap/config.yaml');
    // In the middle for a minute. What has a schedule is told when the config was read again.
    const slow = { capture: 'precopy', precopyRate: '64KiB/s', schedule: '0 0 1 1 *' };
    await writeFile(configFile, configWith(slow));
    expect((await box.run('systemctl', 'reload', 'umlsnap')).output).toBe('');
    const isRead = async () => /of one, away/.test(await property('StatusText'));
    await waitFor('the reload', isRead, { everyMs: 500 });
    const summary = requested('snapshot', 'one').catch(() => undefined);
    const store = box.pathOf('/srv/umlsnap/one');
    const hasBegun = async () => (await readdir(store)).some((name) => name.startsWith('.incoming-'));
    await waitFor('a copy in the making', hasBegun);
    const kill = await box.run('systemctl', 'kill', '-s', 'KILL', '--kill-whom=main', 'umlsnap');
    expect(kill.exitCode, kill.output).toBe(0);
    await writeFile(configFile, configWith());
    expect(await summary).toBe(undefined);
    const isBack = async () =>
      (await property('MainPID')) !== before && (await property('ActiveState')) === 'active';
    await waitFor('the daemon', isBack, { limitMs: 90_000, everyMs: 500 });
    expect(await property('NRestarts')).toBe('1');
    expect((await umlsnap('history', 'one')).text).toMatch(/interrupted/);
    expect(await hasBegun()).toBe(false);
    await expectGuestRuns();
    expect(await requested('snapshot', 'one')).toMatchObject({ error: null, resumed: true });
  });

  test('stopped, ends well, with the guest running', async () => {
    expect(await box.run('systemctl', 'stop', 'umlsnap')).toMatchObject({ exitCode: 0, output: '' });
    expect(await property('Result')).toBe('success');
    await expectGuestRuns();
  });
});
