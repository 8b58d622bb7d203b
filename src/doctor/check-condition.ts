import type { GuestCondition } from '../guest/guest-condition.js';
import { type Finding, fine, trouble } from './finding.js';

/**
 * Whether a guest is there, and runs.
 * @param worker who works on it now, in his own words
 * @param isLeftOut its backups are left out while it does not run, as of one that is halted, and do not fail
 */
export function checkCondition(
  guest: string,
  { state, pid, problem }: GuestCondition,
  worker: string | undefined,
  isLeftOut = true,
): Finding {
  const about = { check: 'guest', about: guest } as const;
  const facts = { state, pid, worker: worker ?? null };
  if (worker !== undefined) {
    return fine(about, `Is being worked on by ${worker}, and so is asked nothing now.`, facts);
  }
  switch (state) {
    case 'running':
      return fine(about, `Runs, pid ${pid}, and answers on its console.`, facts);
    case 'stopped':
      return trouble(about, {
        level: 'critical',
        what: `Is STOPPED (pid ${pid}), and no job of ours works on it.`,
        means: 'Nothing of it runs. umlsnap leaves a guest stopped that somebody else has stopped.',
        mend: `umlsnap recover, if it may be ours; otherwise umlsnap mconsole ${guest} go`,
        facts,
      });
    case 'notRunning':
      return trouble(about, {
        level: isLeftOut ? 'warning' : 'critical',
        what: isLeftOut
          ? 'Does not run.'
          : 'Does not run, and was not halted: it has crashed, or was killed.',
        means: isLeftOut
          ? 'Only a running guest is backed up: until it is booted, nothing is.'
          : 'The next backup fails.',
        mend: 'Boot it, or take it out of the config (or set `schedule: null`). If it does run, `umlsnap discover` shows its socket.',
        facts,
      });
    case 'unknown':
      return trouble(about, {
        level: 'unknown',
        what: 'Answers, and the host does not tell whether it stands still.',
        means: 'umlsnap can not see that a guest was stopped by somebody else.',
        mend: 'Run umlsnap as root, or as the user that runs the guest.',
        facts,
      });
    case 'unreachable':
      return trouble(about, {
        level: 'critical',
        what: problem?.message ?? 'It can not be talked to.',
        means: 'It can not be backed up.',
        mend: 'Do what the message says. A guest that was stopped by a signal: kill -CONT its processes.',
        facts: { ...facts, code: problem?.code ?? null },
      });
  }
}
