import { lstatSync, statSync } from 'node:fs';
import { type Finding, fine, trouble } from './finding.js';

const about = { check: 'syslog', about: null } as const;

/** Where errors of the daemon go beside its own log. A host without syslog loses nothing that the log has not. */
export function checkSyslog(path = '/dev/log'): Finding {
  if (!lstatSync(path, { throwIfNoEntry: false })) {
    return fine(about, `No syslog on this host (${path}): errors stand in the daemon's own log only.`);
  }
  const found = statSync(path, { throwIfNoEntry: false });
  if (found?.isSocket()) return fine(about, `Errors of the daemon go to syslog too (${path}).`);
  return trouble(about, {
    level: 'warning',
    what: `${path} leads to ${found ? 'something that is no socket' : 'nothing'}.`,
    means: "The daemon's errors stand in its own log only, and not in syslog.",
    mend: 'Start the syslog of this host again (systemd-journald, rsyslog).',
  });
}
