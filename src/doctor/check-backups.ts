import { overdueGraceMs } from '../alerts/decide-alerts.js';
import { formatDuration } from '../config/duration.js';
import { slotsBetween } from '../schedule/cron-slots.js';
import { type Finding, fine, trouble } from './finding.js';

/** What came out of a guest's backups. */
export interface BackupRecord {
  guest: string;
  /** undefined: by hand only. */
  schedule: string | undefined;
  timezone: string;
  jitterMs: number;
  /** The newest sound copy; null: there is none. */
  lastSound: { snapshot: string; store: string; takenAt: string } | null;
  /** Sound or not, there are copies. */
  hasCopies: boolean;
  /** Backups that have ended well or badly, newest first. */
  ended: readonly { status: string; finishedAt: string | null; error: { message: string } | null }[];
  /** One is at work now. */
  isRunning: boolean;
  /** It was left out when it was last due, for the guest was halted, and what its last backup made is sound. */
  isHalted: boolean;
}

/** So many are told apart from "many". */
const maxMissed = 1000;

/**
 * Whether backups come to what the schedule promises: a sound snapshot, as young as it. Critical where there is none, or where two
 * and more were due since. Pure.
 */
export function checkBackups(record: BackupRecord, now: Date): Finding {
  const { guest, schedule, lastSound, ended, isRunning, isHalted } = record;
  const about = { check: 'backups', about: guest } as const;
  const [last] = ended;
  const failed = failuresIn(ended);
  const why = last?.status === 'failed' ? ` ${toldOf(failed, last)}` : '';
  const facts = { lastSound, failedInRow: failed, lastError: last?.error?.message ?? null };
  const mend = `Do what the message says, and try it: \`umlsnap snapshot ${guest}\`; \`umlsnap history ${guest}\` has all of them.`;
  if (lastSound === null) {
    if (last !== undefined || record.hasCopies) {
      return trouble(about, {
        level: 'critical',
        what: `Has no sound snapshot.${why || ' What its backups made is damaged, or was removed.'}`,
        means: 'There is nothing to restore it from.',
        mend,
        facts,
      });
    }
    if (schedule !== undefined) return fine(about, 'Has had no backup yet: its first is to come.', facts);
    return trouble(about, {
      level: 'warning',
      what: 'Has had no backup, and no schedule takes one.',
      means: 'There is nothing to restore it from.',
      mend: `umlsnap snapshot ${guest}, and give it a \`schedule\` in the config`,
      facts,
    });
  }
  const ageMs = Math.max(0, now.getTime() - Date.parse(lastSound.takenAt));
  const newest = `Its last sound snapshot is ${lastSound.snapshot} in store ${lastSound.store}, ${formatDuration(ageMs)} old`;
  if (isHalted)
    return fine(about, `${newest}, of its last backup; it was halted when it was due since.`, {
      ...facts,
      ageMs,
    });
  const due = missedSince(record, new Date(lastSound.takenAt), now);
  const missed = Math.max(0, due - (isRunning ? 1 : 0));
  if (missed === 0 && why === '') return fine(about, `${newest}.`, { ...facts, ageMs, missed });
  const since =
    missed === 0 ? '' : missed === 1 ? ', and one was due since' : `, and ${missed} were due since`;
  return trouble(about, {
    level: missed > 1 ? 'critical' : 'warning',
    what: `${newest}${since}.${why}`,
    means: 'What the guest has written since is in no sound snapshot.',
    mend:
      why === ''
        ? `\`umlsnap history ${guest}\` tells what became of them; \`umlsnap status\` whether a daemon runs.`
        : mend,
    facts: { ...facts, ageMs, missed },
  });
}

function missedSince({ schedule, timezone, jitterMs }: BackupRecord, since: Date, now: Date): number {
  const upTo = new Date(now.getTime() - jitterMs - overdueGraceMs);
  if (schedule === undefined || upTo <= since) return 0;
  return slotsBetween(schedule, timezone, since, upTo, maxMissed).length;
}

/** Those in a row, up to now. */
function failuresIn(ended: BackupRecord['ended']): number {
  const end = ended.findIndex(({ status }) => status !== 'failed');
  return end === -1 ? ended.length : end;
}

function toldOf(failed: number, { finishedAt, error }: BackupRecord['ended'][number]): string {
  const which = failed === 1 ? 'The last backup' : `The last ${failed} backups`;
  return `${which} failed, at ${finishedAt ?? 'a time that is not known'}: ${error?.message ?? 'nobody knows why.'}`;
}
