import { describe, expect, test } from 'vitest';
import { checkAgent } from '../../src/doctor/check-agent.js';
import { checkClock } from '../../src/doctor/check-clock.js';
import { checkCondition } from '../../src/doctor/check-condition.js';
import { checkCpus } from '../../src/doctor/check-cpus.js';
import { checkDaemon } from '../../src/doctor/check-daemon.js';
import { checkKernel, stopFitnessOf } from '../../src/doctor/check-kernel.js';
import { checkRights } from '../../src/doctor/check-rights.js';
import { checkSlots } from '../../src/doctor/check-slots.js';
import { checkStopAndGo } from '../../src/doctor/check-stop-and-go.js';
import { checkSysrq } from '../../src/doctor/check-sysrq.js';
import { checkTimezone } from '../../src/doctor/check-timezone.js';
import { checkTracing } from '../../src/doctor/check-tracing.js';
import { checkOrphans, type Orphan } from '../../src/doctor/orphans.js';
import { guestConfig } from './guest-config.js';

const now = new Date('2026-11-21T12:00:00Z');
const guest = guestConfig();

describe('the version of a kernel decides whether its stop and go are tried', () => {
  test.each([
    ['Linux g 6.1.176 #1 SMP x86_64', 'fit'],
    ['Linux g 7.2.7 #1 x86_64', 'fit'],
    ['Linux g 5.18.0 #1 x86_64', 'fit'],
    ['Linux g 5.17.15 #1 x86_64', 'mayLoseConsole'],
    ['Linux g 5.10.0-28-um #1 x86_64', 'mayLoseConsole'],
    ['Linux g 4.16 #1 x86_64', 'mayLoseConsole'],
    ['Linux g 4.15.18 #1 x86_64', 'fit'],
    ['Linux g 2.6.19 #1 i686', 'fit'],
    ['Linux g 2.6.18-6 #1 i686', 'tooOld'],
    ['Linux g 2.4.37 #1 i686', 'tooOld'],
    ['6.1', 'unknown'],
    ['', 'unknown'],
  ] as const)('%s is %s', (kernel, fitness) => {
    expect(stopFitnessOf(kernel)).toBe(fitness);
    expect(checkKernel('debian', kernel).level === 'ok').toBe(fitness === 'fit');
  });
});

test('a clock that runs behind what is recorded is critical, and one that is new is not', () => {
  expect(checkClock(now, null).level).toBe('ok');
  expect(checkClock(now, '2026-11-21T11:59:00.000Z').level).toBe('ok');
  expect(checkClock(now, '2026-11-21T12:00:30.000Z').level).toBe('ok');
  expect(checkClock(now, '2026-11-22T12:00:00.000Z').level).toBe('critical');
  expect(checkClock(new Date(0), null).level).toBe('critical');
});

test('a TZ that nobody knows is told, as schedules then run at other hours', () => {
  const look = { system: 'UTC', scheduled: [{ guest: 'debian', timezone: 'UTC' }] };
  expect(checkTimezone({ ...look, environment: 'Europe/Rom' }).level).toBe('warning');
  for (const environment of [undefined, '', 'Europe/Rome', ':Europe/Rome', ':/etc/localtime']) {
    expect(checkTimezone({ ...look, environment }).level).toBe('ok');
  }
});

test('a schedule without a daemon is critical, and a daemon with another config is told', () => {
  const look = { isRunning: false, answer: null, configFile: '/c', scheduled: ['debian'] };
  const answer = { pid: 7, configFile: '/c', hasThisConfig: true };
  expect(checkDaemon(look)).toMatchObject({ level: 'critical', what: expect.stringContaining('debian') });
  expect(checkDaemon({ ...look, scheduled: [] }).level).toBe('ok');
  expect(checkDaemon({ ...look, isRunning: true }).level).toBe('warning');
  expect(checkDaemon({ ...look, isRunning: true, answer }).level).toBe('ok');
  const changed = checkDaemon({ ...look, isRunning: true, answer: { ...answer, hasThisConfig: false } });
  expect(changed).toMatchObject({ level: 'warning', mend: expect.stringContaining('SIGHUP') });
  const other = { ...answer, configFile: '/other', hasThisConfig: false };
  expect(checkDaemon({ ...look, isRunning: true, answer: other }).what).toContain('/other');
});

test('a run that is late by more than its jitter and some patience is a missed one', () => {
  const due = (minutes: number) => ({ at: new Date(now.getTime() - minutes * 60_000), isOverdue: true });
  const late = (jitterMs: number, minutes: number) =>
    checkSlots({ name: 'debian', jitterMs }, due(minutes), now).level;
  expect([late(0, 5), late(0, 20), late(600_000, 20)]).toEqual(['ok', 'warning', 'ok']);
  const next = { at: new Date('2026-11-22T03:15:00Z'), isOverdue: false };
  expect(checkSlots(guest, next, now).level).toBe('ok');
  expect(checkSlots(guest, null, now).level).toBe('ok');
});

test('a sync is believed by its text only, and a thaw that SysRq does not allow counts where an agent may freeze', () => {
  const look = (setting: string, syncText = 'sysrq: Emergency Sync') => ({ setting, syncText });
  const levelOf = (setting: string, syncText?: string, agent: 'auto' | 'off' = 'auto') =>
    checkSysrq({ ...guest, agent }, look(setting, syncText)).level;
  expect(levelOf('1')).toBe('ok');
  expect(levelOf('80')).toBe('ok');
  expect(levelOf('16')).toBe('warning');
  expect(levelOf('16', undefined, 'off')).toBe('ok');
  expect(levelOf('0', '')).toBe('critical');
  expect(levelOf('1', 'sysrq: This sysrq operation is disabled.')).toBe('critical');
});

test('an agent that is not there is a choice, unless the config wants it or the guest was booted for it', () => {
  const levelOf = (
    cause: Parameters<typeof checkAgent>[1]['cause'],
    require: 'frozen' | 'synced' = 'synced',
  ) => checkAgent({ ...guest, require }, { cause, detail: '' }).level;
  expect([levelOf('ready'), levelOf('off'), levelOf('notBootedWithNotify')]).toEqual(['ok', 'ok', 'ok']);
  expect(levelOf('notBootedWithNotify', 'frozen')).toBe('critical');
  expect([levelOf('noAgent'), levelOf('noAgent', 'frozen')]).toEqual(['warning', 'critical']);
  expect(levelOf('notAsked', 'frozen')).toBe('unknown');
});

test("a guest with several CPUs is not backed up, and with its owner's consent only badly", () => {
  expect(checkCpus(guest, 1).level).toBe('ok');
  expect(checkCpus(guest, 2).level).toBe('critical');
  expect(checkCpus({ ...guest, allowSmp: true, require: 'crash' }, 2).level).toBe('warning');
});

test('a guest that somebody works on is in order, whatever it looks like meanwhile', () => {
  const condition = { state: 'stopped', kernel: null, pid: 7, problem: null } as const;
  expect(checkCondition('debian', condition, 'umlsnap snapshot (pid 8)').level).toBe('ok');
  const levels = (['running', 'stopped', 'notRunning', 'unknown', 'unreachable'] as const).map(
    (state) => checkCondition('debian', { ...condition, state }, undefined).level,
  );
  expect(levels).toEqual(['ok', 'critical', 'warning', 'unknown', 'critical']);
});

test("another user's guests are critical to whoever is not root", () => {
  const foreign = [{ guest: 'debian', uid: 1001 }];
  expect(checkRights({ uid: 0, foreign }).level).toBe('ok');
  expect(checkRights({ uid: 1000, foreign: [] }).level).toBe('ok');
  expect(checkRights({ uid: 1000, foreign }).level).toBe('critical');
});

test('that nothing can be traced matters as much as guests need it', () => {
  const look = { mounted: null, works: false, reason: 'no tracefs' };
  const levelFor = (need: 'required' | 'useful' | 'none') =>
    checkTracing(look, [{ guest: 'debian', need }]).level;
  expect([levelFor('none'), levelFor('useful'), levelFor('required')]).toEqual(['ok', 'warning', 'critical']);
});

test('a stop and go that fails is critical, and one that was left out is not', () => {
  expect(checkStopAndGo('debian', { tried: false, why: 'no reason' }).level).toBe('ok');
  expect(checkStopAndGo('debian', { tried: true, pausedMs: [1, 1], error: null }).level).toBe('ok');
  const error = { code: 'GuestNotAnswering', message: 'Nothing answered.' };
  const failed = checkStopAndGo('debian', { tried: true, pausedMs: [1], error });
  expect(failed).toMatchObject({ level: 'critical', what: 'Nothing answered.' });
});

test('of what is left, a guest that may stand still is told first, and what recover leaves is named to be removed', () => {
  const socket: Orphan = { kind: 'socket', what: 'a socket', holdsGuest: false, mend: { remove: '/x' } };
  const lease: Orphan = { kind: 'lease', what: 'a lease', holdsGuest: true, mend: 'recover' };
  expect(checkOrphans([]).level).toBe('ok');
  expect(checkOrphans([socket])).toMatchObject({ level: 'warning', mend: 'rm -r /x' });
  const both = checkOrphans([socket, lease]);
  expect(both).toMatchObject({ level: 'critical', mend: 'umlsnap recover; then rm -r /x' });
  expect(both.what).toContain('a lease; a socket');
});
