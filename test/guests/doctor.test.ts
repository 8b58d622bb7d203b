import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Finding } from '../../src/doctor/finding.js';
import type { Orphan } from '../../src/doctor/orphans.js';
import { withLocks } from '../../src/exclusive-lock.js';
import { leaseLock, writeLease } from '../../src/pause/lease.js';
import { readProcessStat } from '../../src/process-identity.js';
import { type CliResult, cliScript, jsonLines, runCli } from '../support/cli.js';
import { canLoopMount } from '../support/loop-filesystem.js';
import type { RealGuest } from '../support/real-guest.js';
import { tryTool } from '../support/run-tool.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { TestDaemon } from '../support/test-daemon.js';
import { expectRunning, settingsOf, TestHouse } from '../support/test-house.js';

/** One real guest, well at first, and then ill in one way after another. */

let house: TestHouse;
let guest: RealGuest;
let elsewhere: string;
const isRoot = process.getuid?.() === 0;

beforeAll(async () => {
  house = await TestHouse.build();
  elsewhere = await makeTempDir();
  guest = await house.boot();
  await house.configure({ debian: settingsOf(guest, { agent: 'off' }) });
});
afterAll(async () => {
  await house?.remove();
  await removeTempDir(elsewhere);
});

interface Examined {
  result: CliResult;
  findings: Finding[];
  /** Of the host, or of this guest or store. */
  of(check: string): Finding | undefined;
}

async function doctor(...options: string[]): Promise<Examined> {
  const result = await house.run(['doctor', '--json', ...options]);
  const findings = result.json.filter(({ type }) => type === 'finding') as unknown as Finding[];
  return { result, findings, of: (check) => findings.find((finding) => finding.check === check) };
}

/** What other tests of this machine, killed, have left in memory or in the kernel is true, and none of this house. */
const isOfHost = ({ check, facts }: Finding) =>
  check === 'orphans' &&
  (facts.orphans as Orphan[]).every(({ kind }) => kind === 'scratch' || kind === 'traceInstance');

const troubles = (findings: Finding[]) =>
  findings
    .filter((finding) => finding.level !== 'ok' && !isOfHost(finding))
    .map(({ check, level }) => `${check} ${level}`);

/** Every finding that is no good one says what it means and what to do. */
function expectAdvice(findings: Finding[]): void {
  for (const { level, what, means, mend } of findings) {
    expect(what).toMatch(/\S/);
    if (level !== 'ok')
      expect([means, mend]).toEqual([expect.stringMatching(/\w/), expect.stringMatching(/\w/)]);
  }
}

test('a healthy guest on a healthy host has no finding, and is stopped and resumed twice, as the history tells', async () => {
  const { result, findings, of } = await doctor();
  if (isRoot) expect(troubles(findings), JSON.stringify(findings, null, 2)).toEqual([]);
  expect(result.stderr).toBe('');
  const checks = new Set(findings.map(({ check }) => check));
  for (const check of ['rights', 'history', 'tracing', 'guardian', 'orphans', 'room', 'kernel', 'disks']) {
    expect(checks).toContain(check);
  }
  const pausedMs = of('stopAndGo')?.facts.pausedMs;
  expect(pausedMs).toHaveLength(2);
  expect(of('sysrq')?.facts.syncText).toContain('Emergency Sync');
  if (canLoopMount('xfs')) expect(of('capture')?.facts).toMatchObject({ method: 'reflink' });
  const { kind, status, summary } = await house.newestJob('debian');
  expect({ kind, status }).toEqual({ kind: 'doctor', status: 'success' });
  expect(summary).toMatchObject({ pausesMs: pausedMs });
  await house.expectAllWell();
});

test('as a plugin it is one line with figures, stops no guest, and leaves no job behind', async () => {
  expect((await house.run(['snapshot', 'debian'])).exitCode).toBe(0);
  const before = await house.jobs();
  const { exitCode, stdout, stderr } = await house.run(['doctor', '--nagios']);
  const pattern = /^UMLSNAP (OK|WARNING) - .* \| 'ok'=\d+;;;0 .*'free_local'=\d+B;\d+:;\d+:;0\n$/;
  expect({ stdout, stderr }).toEqual({ stdout: expect.stringMatching(pattern), stderr: '' });
  expect(exitCode).toBe(stdout.startsWith('UMLSNAP OK') ? 0 : 1);
  expect(await house.jobs()).toEqual(before);
});

test('a config that is wrong is UNKNOWN to a monitor, in one line, and not CRITICAL', async () => {
  const wrong = join(elsewhere, 'wrong.yaml');
  await writeFile(wrong, 'colour: red\n');
  const { exitCode, stdout } = await house.run(['-c', wrong, 'doctor', '--nagios']);
  expect(stdout).toMatch(/^UMLSNAP UNKNOWN - .*colour.*\n$/);
  expect(exitCode).toBe(3);
});

test('a guest that somebody has stopped is critical, and is left stopped', async () => {
  await guest.mconsole('stop');
  const { result, findings } = await doctor();
  expect(troubles(findings)).toEqual(['guest critical']);
  expect(result.exitCode).toBe(1);
  expectAdvice(findings);
  expect(findings.map(({ check }) => check)).not.toContain('stopAndGo');
  expect((await house.run(['doctor', '--nagios'])).exitCode).toBe(2);
  // Refused, had it been resumed meanwhile.
  await guest.mconsole('go');
  await expectRunning(guest);
});

test('a guest whose SysRq is off is told, though it answers OK', async () => {
  await guest.sh('echo 0 > /proc/sys/kernel/sysrq');
  const { result, findings, of } = await doctor('--no-stop-go');
  expect(troubles(findings)).toEqual(['sysrq critical']);
  expect(of('sysrq')?.mend).toContain('sysctl kernel.sysrq=1');
  expect(of('stopAndGo')?.facts).toEqual({ tried: false });
  expect(result.exitCode).toBe(1);
  await guest.sh('echo 1 > /proc/sys/kernel/sysrq');
});

test('a disk of the config that the guest does not have, and an agent that is asked for and not there, are told', async () => {
  const other = join(house.dir, 'other.img');
  await writeFile(other, Buffer.alloc(4096));
  await house.configure({
    debian: settingsOf(guest, { disks: { ubd0: other }, require: 'frozen', schedule: '0 0 1 1 *' }),
  });
  const { findings } = await doctor('--no-stop-go');
  expect(troubles(findings)).toEqual(['daemon critical', 'disks critical', 'agent critical']);
  expectAdvice(findings);
  await rm(other);
  await house.configure({ debian: settingsOf(guest, { agent: 'off' }) });
});

test.skipIf(!isRoot)(
  'with the store on another filesystem, only tracing keeps the pause short; without tracefs, both are told',
  async () => {
    const { store } = house;
    house.store = join(elsewhere, 'store');
    await house.configure(
      { debian: settingsOf(guest, { agent: 'off' }) },
      { state: join(elsewhere, 'state') },
    );
    const { findings, of } = await doctor('--no-stop-go');
    expect(troubles(findings)).toEqual([]);
    expect(of('capture')?.facts).toMatchObject({ method: 'precopy', tracker: 'traced' });
    expect(of('tracing')?.facts).toMatchObject({ works: true, useful: ['debian'] });

    const hide = 'umount -l /sys/kernel/tracing 2>/dev/null; mount -t tmpfs none /sys/kernel && exec "$@"';
    const cli = [process.execPath, cliScript, '-c', house.configFile, 'doctor', '--json', '--no-stop-go'];
    const { exitCode, stdout } = await tryTool('unshare', ['--mount', 'sh', '-c', hide, 'sh', ...cli]);
    const without = jsonLines(stdout.toString()).filter(({ type }) => type === 'finding');
    expect(troubles(without as unknown as Finding[])).toEqual(['tracing warning', 'capture warning']);
    expect(exitCode).toBe(3);
    expect(await readdir(elsewhere)).not.toContain('state');
    house.store = store;
    await house.configure({ debian: settingsOf(guest, { agent: 'off' }) });
  },
);

test('a guest that somebody works on is asked nothing, and is no trouble', async () => {
  const keys = [leaseLock(house.state, 'debian')];
  const lock = { keys, holder: 'umlsnap snapshot (pid 1)', what: 'Guest debian', wait: false };
  const { findings, of } = await withLocks(lock, () => doctor());
  expect(troubles(findings)).toEqual([]);
  expect(of('guest')?.what).toContain('umlsnap snapshot (pid 1)');
  const checks = findings.filter(({ about }) => about === 'debian').map(({ check }) => check);
  expect(checks).toEqual(['guest', 'capture']);
});

test('a daemon is known by the config that it runs by, and by what it leaves when it is killed', async () => {
  const schedule = { schedule: '0 0 1 1 *' };
  await house.configure({ debian: settingsOf(guest, { agent: 'off', ...schedule }) });
  const daemon = await TestDaemon.start(house);
  const running = await doctor('--no-stop-go');
  expect(troubles(running.findings)).toEqual([]);
  expect(running.of('daemon')?.facts).toMatchObject({ isRunning: true, pid: daemon.pid });

  await house.configure({ debian: settingsOf(guest, { agent: 'off', ...schedule, pauseBudget: '7s' }) });
  const changed = await doctor('--no-stop-go');
  expect(troubles(changed.findings)).toEqual(['daemon warning']);
  expect(changed.of('daemon')?.mend).toContain('SIGHUP');

  await daemon.killed();
  const dead = await doctor('--no-stop-go');
  expect(troubles(dead.findings)).toEqual(['daemon critical', 'orphans warning']);
  const socket = join(house.state, 'control.sock');
  expect(dead.of('orphans')?.mend).toContain(`rm -r ${socket}`);
  await rm(socket);
  await house.configure({ debian: settingsOf(guest, { agent: 'off' }) });
});

test('config init writes a config for the guest that runs, which doctor and a dry run take as it is, and never writes over a file', async () => {
  const file = join(elsewhere, 'deep/config.yaml');
  const env = { HOME: guest.home, UMLSNAP_CONFIG: '' };
  const init = () => runCli(['config', 'init', '--write', file], { env });
  expect(await init()).toMatchObject({ exitCode: 0, stderr: '' });
  const text = await readFile(file, 'utf8');
  expect(text).toMatch(new RegExp(`^ +mconsole: ${guest.umid}$`, 'm'));
  const again = await init();
  expect(again).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('left as it is') });
  expect(await readFile(file, 'utf8')).toBe(text);

  // The state is the only thing that a test must have elsewhere.
  await writeFile(file, `state: ${join(elsewhere, 'init-state')}\n${text}`);
  const dryRun = await runCli(['-c', file, 'snapshot', guest.umid, '--dry-run', '--json'], { env });
  expect(dryRun, dryRun.stderr).toMatchObject({ exitCode: 0 });
  if (canLoopMount('xfs')) expect(dryRun.json.at(-1)).toMatchObject({ method: 'reflink' });
});

test('what dead processes have left is told and not touched: a copy in the making, and a lease of a pause', async () => {
  const incoming = join(house.store, 'debian', '.incoming-20260101T000000Z-abcdef');
  const lease = join(house.state, 'leases', 'debian.json');
  await mkdir(incoming);
  const dead = { pid: 2 ** 22 - 1, startTicks: 1 };
  const { pid, startTicks } = readProcessStat(guest.pid) ?? dead;
  await writeLease(lease, {
    ...{ guest: 'debian', job: 'j', pause: 'j.1', socketPath: guest.socketPath },
    ...{ main: { pid, startTicks }, orchestrator: dead, guardian: dead },
    deadlineAt: new Date().toISOString(),
  });
  const { findings, of } = await doctor('--no-stop-go');
  expect(troubles(findings)).toEqual(['orphans critical']);
  expect(of('orphans')?.facts.orphans).toEqual(
    expect.arrayContaining([
      expect.objectContaining({ kind: 'lease', holdsGuest: true }),
      expect.objectContaining({ kind: 'incoming', holdsGuest: false }),
    ]),
  );
  expect(of('orphans')?.mend).toMatch(/^umlsnap recover/);
  expect(await house.leases()).toHaveLength(1);
  expect(await house.incomings()).toHaveLength(1);

  expect((await house.run(['recover'])).exitCode).toBe(0);
  expect(troubles((await doctor('--no-stop-go')).findings)).toEqual([]);
  await house.expectAllWell();
});
