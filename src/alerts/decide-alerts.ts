import { agentCure } from '../error-text.js';
import { backupsThatTell, isWeaker, levelChange } from '../history/levels.js';
import type { Consistency } from '../history/records.js';
import { slotsBetween } from '../schedule/cron-slots.js';
import type { Alert } from './alert.js';

/** A job of a guest that has ended, as far as an alert is concerned. */
export interface EndedJob {
  job: string;
  kind: string;
  guest: string;
  status: string;
  /** ISO 8601. */
  finishedAt: string;
  error: { code: string; message: string } | null;
  warnings: readonly string[];
  /** Of the snapshot that it took; null: it took none. */
  level: Consistency | null;
}

const dayMs = 86_400_000;

/** Of a guest that did not run: neither a failure nor a backup that is missing. */
export const isOfHalted = ({ error }: Pick<EndedJob, 'error'>) => error?.code === 'GuestHalted';

/**
 * What somebody has to be told of a job's end: a failure when it begins, and once a day while it lasts; its end; warnings when
 * there were none before; another level of consistency than before. A guest that may stand still is told each time. That it is halted
 * is told once, and that it runs again. What else was skipped, or interrupted, changes nothing.
 * @param before earlier jobs of this guest and kind that have ended, newest first
 */
export function alertsOfJob(ended: EndedJob, before: readonly EndedJob[]): Alert[] {
  const previous = before.find((one) => isDecided(one.status) || isOfHalted(one));
  const wasHalted = previous !== undefined && isOfHalted(previous);
  const isBack = isDecided(ended.status) && ended.status !== 'failed' && wasHalted;
  const back = isBack
    ? [alertOf('halted', ended, 'the guest is not halted any more', 'Its backups go on.')]
    : [];
  if (isOfHalted(ended) && !wasHalted)
    return [alertOf('halted', ended, 'the guest is halted', ended.error?.message ?? '')];
  return [...back, ...alertsOfRun(ended, before)];
}

function alertsOfRun(ended: EndedJob, before: readonly EndedJob[]): Alert[] {
  const decided = before.filter(({ status }) => isDecided(status));
  const [previous] = decided;
  const failures = failuresIn(decided);
  if (ended.error?.code === 'GuestMayBePaused')
    return [alertOf('failure', ended, 'GUEST MAY BE PAUSED', ended.error.message)];
  switch (ended.status) {
    case 'failed': {
      const message = ended.error?.message ?? '';
      const [first] = failures.slice(-1);
      if (!first || !previous) return [alertOf('failure', ended, `${ended.kind} failed`, message)];
      const daysAt = ({ finishedAt }: EndedJob) =>
        Math.floor((Date.parse(finishedAt) - Date.parse(first.finishedAt)) / dayMs);
      if (daysAt(ended) <= daysAt(previous)) return [];
      const since = `${ended.kind} has been failing since ${first.finishedAt}, ${failures.length + 1} times`;
      return [alertOf('failure', ended, since, message)];
    }
    case 'success':
    case 'warning': {
      const alerts: Alert[] = [];
      const [first] = failures.slice(-1);
      if (first) {
        const text = `It had failed ${times(failures.length)} since ${first.finishedAt}: ${first.error?.message ?? ''}`;
        alerts.push(alertOf('recovery', ended, `${ended.kind} works again`, text));
      }
      if (ended.status === 'warning' && previous?.status !== 'warning')
        alerts.push(
          alertOf('warning', ended, `${ended.kind} done, with warnings`, ended.warnings.join('\n')),
        );
      return [...alerts, ...levelAlerts(ended, before)];
    }
    default:
      return [];
  }
}

function levelAlerts(ended: EndedJob, before: readonly EndedJob[]): Alert[] {
  const change =
    ended.level &&
    levelChange(
      ended.level,
      before.flatMap(({ level }) => level ?? []),
    );
  if (!change) return [];
  const { from, to } = change;
  if (isWeaker(from, to)) {
    const text = `The last ${backupsThatTell} of them were \`${to}\` or better.`;
    return [alertOf('level', ended, `snapshots are \`${to}\` again`, text)];
  }
  const text = `They were \`${from}\` or better before. ${agentCure} You are told again when ${backupsThatTell} in a row are better than \`${to}\`.`;
  return [alertOf('level', ended, `its snapshot is only \`${to}\``, text)];
}

/** A verification of many snapshots, as far as an alert is concerned. */
export interface EndedVerification {
  job: string;
  /** ISO 8601. */
  finishedAt: string;
  error: { code: string; message: string } | null;
  problems: readonly { snapshot: string; store: string; result: string; problem: string | null }[];
}

/**
 * What somebody has to be told of a scheduled verification: each snapshot that is bad, each time that it is found so, which is
 * once in the time in which all are read; and a store that its own check found damaged.
 */
export function alertsOfVerification(ended: EndedVerification): Alert[] {
  const { job, finishedAt: at, error, problems } = ended;
  const bad = problems.filter(({ result }) => result === 'damaged' || result === 'badFilesystem');
  const alerts = bad.map(({ snapshot, store, result, problem }): Alert => {
    const what = result === 'damaged' ? 'is damaged' : 'has a filesystem that is not sound';
    const guest = snapshot.slice(0, snapshot.lastIndexOf('@'));
    const subject = `umlsnap: ${snapshot} in store ${store} ${what}`;
    const text = `${problem ?? ''} Look with \`umlsnap show ${snapshot}\`; \`umlsnap verify ${snapshot} --heal\` brings it back from a sound copy, and \`umlsnap list ${guest}\` has the others.`;
    return { kind: 'failure', guest, job, at, subject, text };
  });
  if (error?.code !== 'StoreUnusable') return alerts;
  return [
    ...alerts,
    { kind: 'failure', guest: null, job, at, subject: 'umlsnap: a store is damaged', text: error.message },
  ];
}

const isDecided = (status: string) => ['success', 'warning', 'failed'].includes(status);
const times = (count: number) => (count === 1 ? 'once' : `${count} times`);

/** Those that failed in a row, up to now. */
function failuresIn(decided: readonly EndedJob[]): readonly EndedJob[] {
  const end = decided.findIndex(({ status }) => status !== 'failed');
  return end === -1 ? decided : decided.slice(0, end);
}

function alertOf(kind: Alert['kind'], ended: EndedJob, what: string, text: string): Alert {
  const { guest, job, finishedAt } = ended;
  return { kind, guest, job, at: finishedAt, subject: `umlsnap: ${guest}: ${what}`, text };
}

/**
 * What somebody has to be told of a config that was read again: a refusal when it is the first one, and its end.
 * @param before what was refused the last time; null: nothing
 */
export function alertOfReload(
  { file, now }: { file: string; now: Date },
  before: { at: string } | null,
  refused: { problem: string } | null,
): Alert | null {
  const about = { guest: null, job: null, at: now.toISOString() };
  if (refused && !before) {
    const text = `${refused.problem}\nThe daemon goes on with the config that it had before. Put that right, and have it read again (systemctl reload, or SIGHUP).`;
    return { kind: 'failure', ...about, subject: `umlsnap: ${file} was refused`, text };
  }
  if (refused || !before) return null;
  const text = `It had been refused since ${before.at}.`;
  return { kind: 'recovery', ...about, subject: `umlsnap: ${file} is in force again`, text };
}

export interface Expected {
  guest: string;
  schedule: string;
  timezone: string;
  jitterMs: number;
}

/** For what keeps a job from beginning at its slot: others before it, and a daemon that starts. */
export const overdueGraceMs = 15 * 60_000;

/**
 * The newest slot at which a backup should have begun and none did, or null.
 * @param since of the last backup that began, however it ended; of whenever we began to look, where there was none
 */
export function missedSlotOf(expected: Expected, since: Date, now: Date): Date | null {
  const { schedule, timezone, jitterMs } = expected;
  const upTo = new Date(now.getTime() - jitterMs - overdueGraceMs);
  if (upTo <= since) return null;
  return slotsBetween(schedule, timezone, since, upTo, 1)[0] ?? null;
}

export function overdueAlert({ guest }: Expected, slot: Date, now: Date): Alert {
  const at = now.toISOString();
  return {
    ...{ kind: 'overdue', guest, job: null, at },
    subject: `umlsnap: ${guest}: its backup of ${slot.toISOString()} did not run`,
    text: `No backup of guest ${guest} has begun since it was due at ${slot.toISOString()}. Look with \`umlsnap status\` and \`umlsnap history ${guest}\`.`,
  };
}

export function stoppedAlert(guest: string, since: Date, now: Date): Alert {
  return {
    ...{ kind: 'stopped', guest, job: null, at: now.toISOString() },
    subject: `umlsnap: ${guest}: the guest stands still`,
    text: `Guest ${guest} has been stopped since ${since.toISOString()} or longer, and by no job of umlsnap. It runs again by \`umlsnap mconsole ${guest} go\`.`,
  };
}
