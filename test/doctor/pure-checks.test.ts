import { expect, test } from 'vitest';
import type { GuestConfig } from '../../src/config/config.js';
import { resolveConfig } from '../../src/config/resolve.js';
import { checkAgent } from '../../src/doctor/check-agent.js';
import { checkClock } from '../../src/doctor/check-clock.js';
import { checkCondition } from '../../src/doctor/check-condition.js';
import { checkCow } from '../../src/doctor/check-cow.js';
import { checkCpus } from '../../src/doctor/check-cpus.js';
import { checkDaemon } from '../../src/doctor/check-daemon.js';
import { checkLevel } from '../../src/doctor/check-level.js';
import { checkKernel, stopFitnessOf } from '../../src/doctor/check-kernel.js';
import { checkRights } from '../../src/doctor/check-rights.js';
import { checkSlots } from '../../src/doctor/check-slots.js';
import { checkStopAndGo } from '../../src/doctor/check-stop-and-go.js';
import { checkSysrq } from '../../src/doctor/check-sysrq.js';
import { checkTimezone } from '../../src/doctor/check-timezone.js';
import { checkTracing } from '../../src/doctor/check-tracing.js';
import { type Finding, fine, trouble, worstLevel } from '../../src/doctor/finding.js';
import { checkOrphans, type Orphan } from '../../src/doctor/orphans.js';
import { pluginLine, pluginStatus } from '../../src/doctor/plugin-line.js';

test.each([
  ['fit', '6.1.176', '7.2.7', '5.18.0', '4.15.18', '2.6.19'],
  ['mayLoseConsole', '5.17.15', '5.10.0-28-um', '4.16'],
  ['tooOld', '2.6.18-6', '2.4.37'],
  ['unknown', '6.1', ''],
])('the version of a kernel decides whether its stop and go are tried: %s', (fitness, ...versions) => {
  for (const version of versions) {
    const kernel = fitness === 'unknown' ? version : `Linux g ${version} #1 SMP x86_64`;
    expect(stopFitnessOf(kernel), kernel).toBe(fitness);
    expect(checkKernel('debian', kernel).level === 'ok', kernel).toBe(fitness === 'fit');
  }
});

const now = new Date('2026-11-21T12:00:00Z');
const disks = { ubd0: { path: '/srv/uml/root.img' } };
const guest = resolveConfig('/c', { guests: { debian: { mconsole: 'debian', disks } } } as never).guests
  .debian as GuestConfig;
const zone = (environment?: string) =>
  checkTimezone({ system: 'UTC', scheduled: [{ guest: 'debian', timezone: 'UTC' }], environment });
const daemon = (more: object = {}, answer: object | null = null) => {
  const answered = answer && { pid: 7, configFile: '/c', hasThisConfig: true, ...answer };
  return checkDaemon({ isRunning: true, configFile: '/c', scheduled: ['debian'], ...more, answer: answered });
};
const lateBy = (minutes: number, jitterMs: number) => {
  const due = { at: new Date(now.getTime() - minutes * 60_000), isOverdue: true };
  return checkSlots({ name: 'debian', jitterMs }, due, now);
};
const next = { at: new Date('2026-11-22T03:15:00Z'), isOverdue: false };
const sysrq = (setting: string, syncText = 'sysrq: Emergency Sync', agent: 'auto' | 'off' = 'auto') =>
  checkSysrq({ ...guest, agent }, { setting, syncText });
const agent = (cause: Parameters<typeof checkAgent>[1]['cause'], require: 'frozen' | 'synced' = 'synced') =>
  checkAgent({ ...guest, require }, { cause, detail: '' });
const condition = (state: Parameters<typeof checkCondition>[1]['state'], holder?: string) =>
  checkCondition('debian', { state, kernel: null, pid: 7, problem: null }, holder);
const crashed = checkCondition(
  'debian',
  { state: 'notRunning', kernel: null, pid: null, problem: null },
  undefined,
  false,
);
const tracing = (need: 'required' | 'useful' | 'none') =>
  checkTracing({ mounted: null, works: false, reason: 'no tracefs' }, [{ guest: 'debian', need }]);
const mixed = (count: number, device = 'ubd0') => ({
  ...{ device, mixed: { count, firstOffset: count === 0 ? null : 40_960 } },
});
const noHeader = { device: 'ubd1', problem: 'the COW file has no COW header' };
const foreign = [{ guest: 'debian', uid: 1001 }];
const error = { code: 'GuestNotAnswering', message: 'Nothing answered.' };
const failedTrip = checkStopAndGo('debian', { tried: true, pausedMs: [1], error });
const socket: Orphan = { kind: 'socket', what: 'a socket', holdsGuest: false };
const lease: Orphan = { kind: 'lease', what: 'a lease', holdsGuest: true };
const leaseFirst = { what: /a lease; a socket/, mend: /^umlsnap recover$/ };

test.each([
  ['a clock that nothing was recorded by', checkClock(now, null), 'ok'],
  ['one that goes on', checkClock(now, '2026-11-21T11:59:00.000Z'), 'ok'],
  ['one that runs a little behind what is recorded', checkClock(now, '2026-11-21T12:00:30.000Z'), 'ok'],
  ['one that runs far behind it', checkClock(now, '2026-11-22T12:00:00.000Z'), 'critical'],
  ['one that is in 1970', checkClock(new Date(0), null), 'critical'],
  ['a TZ that nobody knows, as schedules then run at other hours', zone('Europe/Rom'), 'warning'],
  ['no TZ', zone(), 'ok'],
  ['an empty one', zone(''), 'ok'],
  ['a known one', zone('Europe/Rome'), 'ok'],
  ['one after a colon', zone(':Europe/Rome'), 'ok'],
  ['the path of one', zone(':/etc/localtime'), 'ok'],
  ['a schedule without a daemon', daemon({ isRunning: false }), 'critical', { what: /debian/ }],
  ['no daemon and no schedule', daemon({ isRunning: false, scheduled: [] }), 'ok'],
  ['a daemon that does not answer', daemon(), 'warning'],
  ['one that does', daemon({}, {}), 'ok'],
  ['one that has an older config', daemon({}, { hasThisConfig: false }), 'warning', { mend: /SIGHUP/ }],
  ['or another', daemon({}, { configFile: '/other', hasThisConfig: false }), 'warning', { what: /\/other/ }],
  ['a run that is a little late', lateBy(5, 0), 'ok'],
  ['one that is late', lateBy(20, 0), 'warning'],
  ['one that is late by no more than its jitter and some patience', lateBy(20, 600_000), 'ok'],
  ['one that is not due', checkSlots(guest, next, now), 'ok'],
  ['no run at all', checkSlots(guest, null, now), 'ok'],
  ['SysRq that allows all', sysrq('1'), 'ok'],
  ['one that allows sync and thaw', sysrq('80'), 'ok'],
  ['one that does not allow a thaw, where an agent may freeze', sysrq('16'), 'warning'],
  ['the same, where none may', sysrq('16', undefined, 'off'), 'ok'],
  ['a sync that says nothing', sysrq('0', ''), 'critical'],
  [
    'one that is believed by its text only',
    sysrq('1', 'sysrq: This sysrq operation is disabled.'),
    'critical',
  ],
  ['an agent that is ready', agent('ready'), 'ok'],
  ['one that is off by choice', agent('off'), 'ok'],
  ['a guest that was booted for none', agent('notBootedWithNotify'), 'ok'],
  ['the same, where one is needed', agent('notBootedWithNotify', 'frozen'), 'critical'],
  ['a guest that was booted for one, and has none', agent('noAgent'), 'warning'],
  ['the same, where it is needed', agent('noAgent', 'frozen'), 'critical'],
  ['an agent that could not be asked', agent('notAsked', 'frozen'), 'unknown'],
  ['a guest with one CPU', checkCpus(guest, 1), 'ok'],
  ['one with two', checkCpus(guest, 2), 'critical'],
  ['the same by consent', checkCpus({ ...guest, allowSmp: true, require: 'crash' }, 2), 'warning'],
  ['COW disks that UML reads right', checkCow('debian', [mixed(0), mixed(0, 'ubd1')]), 'ok'],
  [
    'one that it does not',
    checkCow('debian', [mixed(0), mixed(1, 'ubd1'), mixed(12, 'ubd2')]),
    'warning',
    {
      what: /^ubd1: 1 group of 4 KiB lies .* byte 40960; ubd2: 12 groups/,
      mend: /debian@latest --merge --to DIR/,
    },
  ],
  ['one that can not be looked through', checkCow('debian', [mixed(0), noHeader]), 'unknown'],
  [
    'the same, beside one that is known',
    checkCow('debian', [mixed(2), noHeader]),
    'warning',
    { what: /ubd1: the/ },
  ],
  ['backups that are weak, where nothing is required', checkLevel(guest, ['crash', 'crash']), 'ok'],
  ['the same where more is', checkLevel({ ...guest, require: 'synced' }, ['crash', 'crash']), 'critical'],
  ['one that was weak', checkLevel({ ...guest, require: 'synced' }, ['crash', 'synced', 'synced']), 'ok'],
  ['those of before an agent came', checkLevel({ ...guest, require: 'frozen' }, ['synced']), 'ok'],
  ['no backup yet', checkLevel(guest, []), 'ok'],
  ['a guest that somebody works on, whatever it looks like', condition('stopped', 'umlsnap snapshot'), 'ok'],
  ['one that runs', condition('running'), 'ok'],
  ['one that is stopped', condition('stopped'), 'critical'],
  ['one that does not run', condition('notRunning'), 'warning'],
  ['one that has crashed, whose next backup fails', crashed, 'critical'],
  ['one that nothing is known of', condition('unknown'), 'unknown'],
  ['one that can not be reached', condition('unreachable'), 'critical'],
  ["others' guests to root", checkRights({ uid: 0, foreign }), 'ok'],
  ["one's own to anybody", checkRights({ uid: 1000, foreign: [] }), 'ok'],
  ["others' to anybody else", checkRights({ uid: 1000, foreign }), 'critical'],
  ['no tracing, where nobody needs it', tracing('none'), 'ok'],
  ['the same, where it is useful', tracing('useful'), 'warning'],
  ['the same, where it is required', tracing('required'), 'critical'],
  ['a stop and go that was left out', checkStopAndGo('debian', { tried: false, why: 'no reason' }), 'ok'],
  ['one that went well', checkStopAndGo('debian', { tried: true, pausedMs: [1, 1], error: null }), 'ok'],
  ['one that failed', failedTrip, 'critical', { what: /^Nothing answered\.$/ }],
  ['no orphans', checkOrphans([]), 'ok'],
  ['one that holds nobody', checkOrphans([socket]), 'warning', { mend: /^umlsnap recover$/ }],
  ['one that may hold a guest, which is told first', checkOrphans([socket, lease]), 'critical', leaseFirst],
] as [string, Finding, string, { what?: RegExp; mend?: RegExp }?][])(
  '%s',
  (_, finding, level, words = {}) => {
    expect(finding.level).toBe(level);
    if (words.what) expect(finding.what).toMatch(words.what);
    if (words.mend) expect(finding).toMatchObject({ mend: expect.stringMatching(words.mend) });
  },
);

const finding = (level: 'warning' | 'critical' | 'unknown', what: string): Finding =>
  trouble({ check: 'guest', about: 'debian' }, { level, what, means: 'means', mend: 'mend' });

test('the line begins with the worst, whatever came first, and figures stand behind the only bar', () => {
  const room = fine({ check: 'room', about: 'local' }, 'fits', { freeBytes: 9, weekBytes: 5, nextBytes: 2 });
  const line = pluginLine([finding('warning', 'first'), room, finding('critical', 'a | b\nc')]);
  expect(line).toBe(
    "UMLSNAP CRITICAL - 1 critical, 1 warning: debian guest: a / b c / debian guest: first | 'ok'=1;;;0 'warning'=1;;;0 'critical'=1;;;0 'unknown'=0;;;0 'free_local'=9B;5:;2:;0",
  );
});

test('what is not known is never ok, and never hides what is known to be wrong', () => {
  expect(worstLevel([])).toBe('ok');
  expect(worstLevel(['ok', 'unknown'])).toBe('unknown');
  expect(worstLevel(['warning', 'unknown', 'ok'])).toBe('warning');
  expect((['ok', 'warning', 'critical', 'unknown'] as const).map(pluginStatus)).toEqual([0, 1, 2, 3]);
});
