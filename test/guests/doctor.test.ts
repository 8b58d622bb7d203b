import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { doctor } from '../../jobs/doctor.js';
import { allStores, storesOf, withHistoryToRead } from '../../src/compose.js';
import { loadConfig } from '../../src/config/load-config.js';
import type { Finding } from '../../src/doctor/finding.js';
import type { Orphan } from '../../src/doctor/orphans.js';
import { withLocks } from '../../src/exclusive-lock.js';
import { leaseLock, writeLease } from '../../src/pause/lease.js';
import { readProcessStat } from '../../src/process-identity.js';
import { cliScript, jsonLines, runCli } from '../support/cli.js';
import { canLoopMount } from '../support/loop-filesystem.js';
import { tryTool } from '../support/run-tool.js';
import { expectRuns, setScene } from '../support/scene.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { TestDaemon } from '../support/test-daemon.js';

/** One real guest, well at first, and then ill in one way after another. */

const scene = setScene({ on: 'xfs', settings: { agent: 'off' } });
let elsewhere: string;
const isRoot = process.getuid?.() === 0;

beforeAll(async () => {
  elsewhere = await makeTempDir();
});
afterAll(() => removeTempDir(elsewhere));

const look = (findings: Finding[]) => ({
  findings,
  /** Of the host, or of the only guest or store. */
  of: (check: string) => findings.find((finding) => finding.check === check),
  troubles: findings
    .filter((finding) => finding.level !== 'ok' && !isOfHost(finding))
    .map(({ check, level }) => `${check} ${level}`),
});

const findingsIn = (json: object[]) => json.filter((object) => 'check' in object) as Finding[];

async function doctorCommand(...options: string[]) {
  const result = await scene.run('doctor', '--json', ...options);
  return { result, ...look(findingsIn(result.json)) };
}

/** As the command without a daemon does it, by default with `--no-stop-go`. */
async function examined(tryRoundTrips: Parameters<typeof doctor>[0]['tryRoundTrips'] = null) {
  const config = await loadConfig(scene.config);
  const daemon = { isRunning: false, answer: null, configFile: config.file, scheduled: [] };
  const rest = { stores: allStores(config), daemon, agentsByDaemon: null, tryRoundTrips };
  return await withHistoryToRead(config, async (history) => {
    const capturedInto = (guest: Parameters<typeof storesOf>[1]) => storesOf(config, guest).capturedInto;
    return look(await doctor({ config, history, capturedInto, ...rest }, Object.values(config.guests)));
  });
}

/** What other tests of this machine, killed, have left in memory or in the kernel is true, and none of this scene. */
const isOfHost = ({ check, facts }: Finding) =>
  check === 'orphans' &&
  (facts.orphans as Orphan[]).every(({ kind }) => kind === 'scratch' || kind === 'traceInstance');

/** Every finding that is no good one says what it means and what to do. */
function expectAdvice(findings: Finding[]): void {
  for (const { level, what, means, mend } of findings) {
    expect(what).toMatch(/\S/);
    if (level !== 'ok')
      expect([means, mend]).toEqual([expect.stringMatching(/\w/), expect.stringMatching(/\w/)]);
  }
}

test('a healthy guest on a healthy host has no finding, and is stopped and resumed twice, as the history tells', async () => {
  const { result, findings, of, troubles } = await doctorCommand();
  if (isRoot) expect(troubles, JSON.stringify(findings, null, 2)).toEqual([]);
  expect(result.stderr).toBe('');
  const checks = new Set(findings.map(({ check }) => check));
  for (const check of ['rights', 'history', 'tracing', 'guardian', 'orphans', 'room', 'kernel', 'disks']) {
    expect(checks).toContain(check);
  }
  const pausedMs = of('stopAndGo')?.facts.pausedMs;
  expect(pausedMs).toHaveLength(2);
  expect(of('sysrq')?.facts.syncText).toContain('Emergency Sync');
  if (canLoopMount('xfs')) expect(of('capture')?.facts).toMatchObject({ method: 'reflink' });
  const { kind, status, summary } = await scene.newestJob('debian');
  expect({ kind, status }).toEqual({ kind: 'doctor', status: 'success' });
  expect(summary).toMatchObject({ pausesMs: pausedMs });
  await expectRuns(scene.guest);
});

test('as a plugin it is one line with figures, stops no guest, and leaves no job behind', async () => {
  expect((await scene.snapshot()).exitCode).toBe(0);
  const before = await scene.jobs();
  const { exitCode, stdout, stderr } = await scene.run('doctor', '--nagios');
  const pattern = /^UMLSNAP (OK|WARNING) - .* \| 'ok'=\d+;;;0 .*'free_local'=\d+B;\d+:;\d+:;0\n$/;
  expect({ stdout, stderr }).toEqual({ stdout: expect.stringMatching(pattern), stderr: '' });
  expect(exitCode).toBe(stdout.startsWith('UMLSNAP OK') ? 0 : 1);
  expect(await scene.jobs()).toEqual(before);
});

test('a config that is wrong is UNKNOWN to a monitor, in one line, and not CRITICAL', async () => {
  const wrong = join(elsewhere, 'wrong.yaml');
  await writeFile(wrong, 'colour: red\n');
  const { exitCode, stdout } = await runCli(['-c', wrong, 'doctor', '--nagios']);
  expect(stdout).toMatch(/^UMLSNAP UNKNOWN - .*colour.*\n$/);
  expect(exitCode).toBe(3);
});

test('a guest that somebody has stopped is critical, and is left stopped', async () => {
  await scene.guest.mconsole('stop');
  const { findings, troubles } = await examined(() => expect.fail('it was tried'));
  expect(troubles).toEqual(['guest critical']);
  expectAdvice(findings);
  expect(findings.map(({ check }) => check)).not.toContain('stopAndGo');
  expect((await scene.run('doctor', '--nagios')).exitCode).toBe(2);
  // Refused, had it been resumed meanwhile.
  await scene.guest.mconsole('go');
  await expectRuns(scene.guest);
});

test('SysRq that is off though it answers OK, a disk of the config that the guest does not have, and an agent that is asked for and not there are told', async () => {
  await scene.guest.sh('echo 0 > /proc/sys/kernel/sysrq');
  const other = scene.path('other.img');
  await writeFile(other, Buffer.alloc(4096));
  const schedule = '0 0 1 1 *';
  const wrong = { disks: { ubd0: other }, require: 'frozen', agent: 'auto', schedule };
  await scene.configure({ debian: scene.settings(wrong) });
  const { result, findings, of, troubles } = await doctorCommand('--no-stop-go');
  expect(troubles).toEqual(['daemon critical', 'disks critical', 'sysrq critical', 'agent critical']);
  expectAdvice(findings);
  expect(of('sysrq')?.mend).toContain('sysctl kernel.sysrq=1');
  expect(of('stopAndGo')?.facts).toEqual({ tried: false });
  expect(result.exitCode).toBe(1);
  await rm(other);
  await scene.guest.sh('echo 1 > /proc/sys/kernel/sysrq');
  await scene.configure();
});

test.skipIf(!isRoot)(
  'with the store on another filesystem, only tracing keeps the pause short; without tracefs, both are told',
  async () => {
    const stores = { local: { type: 'directory', path: join(elsewhere, 'store') } };
    await scene.configure(undefined, { state: join(elsewhere, 'state'), stores });
    const { of, troubles } = await examined();
    expect(troubles).toEqual([]);
    expect(of('capture')?.facts).toMatchObject({ method: 'precopy', tracker: 'traced' });
    expect(of('tracing')?.facts).toMatchObject({ works: true, useful: ['debian'] });

    const hide = 'umount -l /sys/kernel/tracing 2>/dev/null; mount -t tmpfs none /sys/kernel && exec "$@"';
    const cli = [process.execPath, cliScript, '-c', scene.config, 'doctor', '--json', '--no-stop-go'];
    const { exitCode, stdout } = await tryTool('unshare', ['--mount', 'sh', '-c', hide, 'sh', ...cli]);
    const without = look(findingsIn(jsonLines(stdout.toString())));
    expect(without.troubles).toEqual(['tracing warning', 'capture warning']);
    expect(exitCode).toBe(3);
    expect(await readdir(elsewhere)).not.toContain('state');
    await scene.configure();
  },
);

test('a guest that somebody works on is asked nothing, and is no trouble', async () => {
  const keys = [leaseLock(scene.state, 'debian')];
  const lock = { keys, holder: 'umlsnap snapshot (pid 1)', what: 'Guest debian', wait: false };
  const { findings, of, troubles } = await withLocks(lock, () => examined());
  expect(troubles).toEqual([]);
  expect(of('guest')?.what).toContain('umlsnap snapshot (pid 1)');
  const checks = findings.filter(({ about }) => about === 'debian').map(({ check }) => check);
  expect(checks).toEqual(['guest', 'capture']);
});

test('a daemon is known by the config that it runs by, and by what it leaves when it is killed', async () => {
  const schedule = { schedule: '0 0 1 1 *' };
  await scene.configure({ debian: scene.settings(schedule) });
  const daemon = await TestDaemon.start(scene);
  const running = await doctorCommand('--no-stop-go');
  expect(running.troubles).toEqual([]);
  expect(running.of('daemon')?.facts).toMatchObject({ isRunning: true, pid: daemon.pid });

  await scene.configure({ debian: scene.settings({ ...schedule, pauseBudget: '7s' }) });
  const changed = await doctorCommand('--no-stop-go');
  expect(changed.troubles).toEqual(['daemon warning']);
  expect(changed.of('daemon')?.mend).toContain('SIGHUP');

  await daemon.killed();
  const dead = await doctorCommand('--no-stop-go');
  expect(dead.troubles).toEqual(['daemon critical', 'orphans warning']);
  const socket = join(scene.state, 'control.sock');
  expect(dead.of('orphans')?.mend).toContain(`rm -r ${socket}`);
  await rm(socket);
  await scene.configure();
});

test('config init writes a config for the guest that runs, which a dry run takes as it is, and never writes over a file', async () => {
  const file = join(elsewhere, 'deep/config.yaml');
  const { home, umid } = scene.guest;
  const env = { HOME: home, UMLSNAP_CONFIG: '' };
  const init = () => runCli(['config', 'init', '--write', file], { env });
  expect(await init()).toMatchObject({ exitCode: 0, stderr: '' });
  const text = await readFile(file, 'utf8');
  expect(text).toMatch(new RegExp(`^ +mconsole: ${umid}$`, 'm'));
  const again = await init();
  expect(again).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('left as it is') });
  expect(await readFile(file, 'utf8')).toBe(text);

  // The state is the only thing that a test must have elsewhere.
  await writeFile(file, `state: ${join(elsewhere, 'init-state')}\n${text}`);
  const dryRun = await runCli(['-c', file, 'snapshot', umid, '--dry-run', '--json'], { env });
  expect(dryRun, dryRun.stderr).toMatchObject({ exitCode: 0 });
  if (canLoopMount('xfs')) expect(dryRun.json.at(-1)).toMatchObject({ method: 'reflink' });
});

test('what dead processes have left is told and not touched: a copy in the making, and a lease of a pause', async () => {
  const incoming = join(scene.store, 'debian', '.incoming-20260101T000000Z-abcdef');
  const lease = join(scene.state, 'leases', 'debian.json');
  await mkdir(incoming, { recursive: true });
  const dead = { pid: 2 ** 22 - 1, startTicks: 1 };
  const { pid, startTicks } = readProcessStat(scene.guest.pid) ?? dead;
  await writeLease(lease, {
    ...{ guest: 'debian', job: 'j', pause: 'j.1', socketPath: scene.guest.socketPath },
    ...{ main: { pid, startTicks }, orchestrator: dead, guardian: dead },
    deadlineAt: new Date().toISOString(),
  });
  const { of, troubles } = await examined();
  expect(troubles).toEqual(['orphans critical']);
  expect(of('orphans')?.facts.orphans).toEqual(
    expect.arrayContaining([
      expect.objectContaining({ kind: 'lease', holdsGuest: true }),
      expect.objectContaining({ kind: 'incoming', holdsGuest: false }),
    ]),
  );
  expect(of('orphans')?.mend).toMatch(/^umlsnap recover/);
  expect(await scene.leases()).toHaveLength(1);
  expect(await scene.incomings()).toHaveLength(1);

  expect((await scene.run('recover')).exitCode).toBe(0);
  expect((await examined()).troubles).toEqual([]);
  await scene.expectWell();
});
