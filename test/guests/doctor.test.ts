import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { Finding } from '../../src/doctor/finding.js';
import type { Orphan } from '../../src/doctor/orphans.js';
import { withLocks } from '../../src/locks/exclusive-lock.js';
import { leaseLock, writeLease } from '../../src/pause/lease.js';
import { readProcessStat } from '../../src/process-identity.js';
import { runCli } from '../support/cli.js';
import { canLoopMount } from '../support/loop-filesystem.js';
import { expectRuns, setScene } from '../support/scene.js';
import { withTempDir } from '../support/temp-dir.js';
import { TestDaemon } from '../support/test-daemon.js';

/** One real guest, well at first, and then ill in one way after another. */

const scene = setScene({ on: 'xfs', settings: { agent: 'off' } });
const isRoot = process.getuid?.() === 0;

async function doctor(options: string[] = ['--no-stop-go'], through: string[] = []) {
  const result = await scene.start(['doctor', '--json', ...options], { through }).exited;
  const findings = result.json.filter((object) => 'check' in object) as object[] as Finding[];
  // Every one says what it is, and one that is no good one what it means and what to do.
  for (const { level, what, means, mend } of findings) {
    for (const text of level === 'ok' ? [what] : [what, means, mend]) expect(text).toMatch(/\w/);
  }
  return {
    ...{ result, findings },
    /** Of the host, or of the only guest or store. */
    of: (check: string) => findings.find((finding) => finding.check === check),
    troubles: findings
      .filter((finding) => finding.level !== 'ok' && !isOfHost(finding))
      .map(({ check, level }) => `${check} ${level}`),
  };
}

/** What other tests of this machine, killed, have left in memory or in the kernel is true, and none of this scene. */
const isOfHost = ({ check, facts }: Finding) =>
  check === 'orphans' &&
  (facts.orphans as Orphan[]).every(({ kind }) => kind === 'scratch' || kind === 'traceInstance');

test('a healthy guest on a healthy host has no finding, and is stopped and resumed twice, as the history tells', async () => {
  expect((await doctor()).of('backups')).toMatchObject({
    level: 'warning',
    mend: expect.stringContaining('umlsnap snapshot debian'),
  });
  expect((await scene.snapshot()).exitCode).toBe(0);
  const { result, findings, of, troubles } = await doctor([]);
  if (isRoot) expect(troubles, JSON.stringify(findings, null, 2)).toEqual([]);
  expect(result.stderr).toBe('');
  const checks = ['rights', 'history', 'tracing', 'guardian', 'orphans', 'room', 'kernel', 'disks'];
  expect(findings.map(({ check }) => check)).toEqual(expect.arrayContaining(checks));
  const pausedMs = of('stopAndGo')?.facts.pausedMs;
  expect(pausedMs).toHaveLength(2);
  expect(of('sysrq')?.facts.syncText).toContain('Emergency Sync');
  if (canLoopMount('xfs')) expect(of('capture')?.facts).toMatchObject({ method: 'reflink' });
  const told = { kind: 'doctor', status: 'success', summary: { pausesMs: pausedMs } };
  expect(await scene.newestJob('debian')).toMatchObject(told);
  await expectRuns(scene.guest);
});

test('as a plugin it is one line with figures, stops no guest, and leaves no job behind; a config that is wrong is UNKNOWN, and not CRITICAL', async () => {
  const before = await scene.jobs();
  const { exitCode, stdout, stderr } = await scene.run('doctor', '--nagios');
  const pattern = /^UMLSNAP (OK|WARNING) - .* \| 'ok'=\d+;;;0 .*'free_local'=\d+B;\d+:;\d+:;0\n$/;
  expect({ stdout, stderr }).toEqual({ stdout: expect.stringMatching(pattern), stderr: '' });
  expect(exitCode).toBe(stdout.startsWith('UMLSNAP OK') ? 0 : 1);
  expect(await scene.jobs()).toEqual(before);

  const wrong = await scene.variant({ colour: 'red' });
  const unknown = expect.stringMatching(/^UMLSNAP UNKNOWN - .*colour.*\n$/);
  expect(await wrong.run('doctor', '--nagios')).toMatchObject({ exitCode: 3, stdout: unknown });
});

test('a guest that somebody has stopped is critical, and is left stopped', async () => {
  await scene.guest.mconsole('stop');
  const { findings, troubles } = await doctor([]);
  expect(troubles).toEqual(['guest critical']);
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
  const wrong = { disks: { ubd0: other }, require: 'frozen', agent: 'auto', schedule: '0 0 1 1 *' };
  await scene.configure({ debian: scene.settings(wrong) });
  const { result, of, troubles } = await doctor();
  expect(troubles).toEqual(['daemon critical', 'disks critical', 'sysrq critical', 'agent critical']);
  expect(of('sysrq')?.mend).toContain('sysctl kernel.sysrq=1');
  expect(of('stopAndGo')?.facts).toEqual({ tried: false });
  expect(result.exitCode).toBe(1);
  await rm(other);
  await scene.guest.sh('echo 1 > /proc/sys/kernel/sysrq');
  await scene.configure();
});

test.skipIf(!isRoot)(
  'with the store on another filesystem, only tracing keeps the pause short; without tracefs, both are told',
  () =>
    withTempDir(async (elsewhere) => {
      const stores = { local: { type: 'directory', path: join(elsewhere, 'store') } };
      await scene.configure(undefined, { state: join(elsewhere, 'state'), stores });
      const { of, troubles } = await doctor();
      expect(troubles).toEqual(['backups warning']);
      expect(of('capture')?.facts).toMatchObject({ method: 'precopy', tracker: 'traced' });
      expect(of('tracing')?.facts).toMatchObject({ works: true, useful: ['debian'] });

      const hide = 'umount -l /sys/kernel/tracing 2>/dev/null; mount -t tmpfs none /sys/kernel && exec "$@"';
      const without = await doctor(['--no-stop-go'], ['unshare', '--mount', 'sh', '-c', hide, 'sh']);
      expect(without.troubles).toEqual(['tracing warning', 'backups warning', 'capture warning']);
      expect(without.result.exitCode).toBe(3);
      expect(await readdir(elsewhere)).not.toContain('state');
      await scene.configure();
    }),
);

test('a guest that somebody works on is asked nothing, and is no trouble', async () => {
  const locks = [leaseLock(scene.state, 'debian')];
  const lock = { locks, holder: 'umlsnap snapshot (pid 1)', what: 'Guest debian', wait: false };
  const { findings, of, troubles } = await withLocks(lock, () => doctor());
  expect(troubles).toEqual([]);
  expect(of('guest')?.what).toContain('umlsnap snapshot (pid 1)');
  const checks = findings.filter(({ about }) => about === 'debian').map(({ check }) => check);
  expect(checks).toEqual(['guest', 'backups', 'copies', 'level', 'capture']);
});

test('a daemon is known by the config that it runs by, and by what it leaves when it is killed', async () => {
  const schedule = { schedule: '0 0 1 1 *' };
  await scene.configure({ debian: scene.settings(schedule) });
  const daemon = await TestDaemon.start(scene);
  const running = await doctor();
  expect(running.troubles).toEqual([]);
  expect(running.of('daemon')?.facts).toMatchObject({ isRunning: true, pid: daemon.pid });

  await scene.configure({ debian: scene.settings({ ...schedule, pauseBudget: '7s' }) });
  const changed = await doctor();
  expect(changed.troubles).toEqual(['daemon warning']);
  expect(changed.of('daemon')?.mend).toContain('SIGHUP');

  await daemon.killed();
  const dead = await doctor();
  expect(dead.troubles).toEqual(['daemon critical', 'orphans warning']);
  expect(dead.of('orphans')?.mend).toBe('umlsnap recover');
  const socket = join(scene.state, 'control.sock');
  expect((await scene.run('recover')).stdout).toContain(`removed ${socket}`);
  expect((await doctor()).troubles).toEqual(['daemon critical']);
  await scene.configure();
});

test('config init writes a config for the guest that runs, which a dry run takes as it is, and never writes over a file', async () => {
  const file = scene.path('deep/config.yaml');
  const { home, umid } = scene.guest;
  const env = { HOME: home, UMLSNAP_CONFIG: '' };
  const init = () => runCli(['config', 'init', '--write', file], { env });
  expect(await init()).toMatchObject({ exitCode: 0, stderr: '' });
  const text = await readFile(file, 'utf8');
  expect(text).toMatch(new RegExp(`^ +mconsole: ${umid}$`, 'm'));
  expect(await init()).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('left as it is') });
  expect(await readFile(file, 'utf8')).toBe(text);

  // The state is the only thing that a test must have elsewhere.
  await writeFile(file, `state: ${scene.path('init-state')}\n${text}`);
  const dryRun = await runCli(['-c', file, 'snapshot', umid, '--dry-run', '--json'], { env });
  expect(dryRun, dryRun.stderr).toMatchObject({ exitCode: 0 });
  if (canLoopMount('xfs')) expect(dryRun.json.at(-1)).toMatchObject({ method: 'reflink' });
});

test('what dead processes have left is told and not touched: a copy in the making, and a lease of a pause', async () => {
  await mkdir(join(scene.store, 'debian/.incoming-20260101T000000Z-abcdef'), { recursive: true });
  const dead = { pid: 2 ** 22 - 1, startTicks: 1 };
  const { pid } = scene.guest;
  await writeLease(join(scene.state, 'leases/debian.json'), {
    ...{ guest: 'debian', job: 'j', pause: 'j.1', socketPath: scene.guest.socketPath },
    main: { pid, startTicks: readProcessStat(pid)?.startTicks ?? 0 },
    ...{ orchestrator: dead, guardian: dead, deadlineAt: new Date().toISOString() },
  });
  const { of, troubles } = await doctor();
  expect(troubles).toEqual(['orphans critical']);
  const orphans = of('orphans')?.facts.orphans as Orphan[];
  const found = orphans.map(({ kind, holdsGuest }) => `${kind} ${holdsGuest}`);
  expect(found).toEqual(expect.arrayContaining(['lease true', 'incoming false']));
  expect(of('orphans')?.mend).toMatch(/^umlsnap recover/);
  expect(await scene.leases()).toHaveLength(1);
  expect(await scene.incomings()).toHaveLength(1);

  expect((await scene.run('recover')).exitCode).toBe(0);
  expect((await doctor()).troubles).toEqual([]);
  await scene.expectWell();
});
