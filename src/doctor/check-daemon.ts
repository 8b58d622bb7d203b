import { type Finding, fine, trouble } from './finding.js';

const about = { check: 'daemon', about: null } as const;

export interface DaemonLook {
  /** Somebody holds the daemon's lock of this state directory. */
  isRunning: boolean;
  /** What it says of itself; null: it does not answer, or does not run. */
  answer: { pid: number; configFile: string; hasThisConfig: boolean } | null;
  configFile: string;
  /** Guests that have a schedule. */
  scheduled: string[];
}

/** Whether a daemon runs the schedule, and by which config. */
export function checkDaemon({ isRunning, answer, configFile, scheduled }: DaemonLook): Finding {
  const facts = { isRunning, pid: answer?.pid ?? null, scheduled };
  if (!isRunning) {
    if (scheduled.length === 0) return fine(about, 'No daemon runs, and no guest has a schedule.', facts);
    return trouble(about, {
      level: 'critical',
      what: `No daemon runs, and there is a schedule for ${scheduled.join(', ')}.`,
      means: 'Scheduled backups do not happen.',
      mend: 'systemctl enable --now umlsnap (docs/setup.md), or keep `umlsnap daemon` running.',
      facts,
    });
  }
  if (answer === null) {
    return trouble(about, {
      level: 'warning',
      what: 'A daemon runs, and does not answer on its control socket.',
      means: 'It may hang, or belong to another user; commands work alone meanwhile.',
      mend: 'Look into its log (journalctl -u umlsnap), and at the rights of control.sock in the state directory.',
      facts,
    });
  }
  if (answer.hasThisConfig) return fine(about, `The daemon runs, pid ${answer.pid}, by this config.`, facts);
  const isSameFile = answer.configFile === configFile;
  return trouble(about, {
    level: 'warning',
    what: `The daemon (pid ${answer.pid}) runs by ${isSameFile ? 'an older state of' : `${answer.configFile}, and not by`} ${configFile}.`,
    means: 'What was changed in the file is not in force.',
    mend: isSameFile
      ? 'systemctl reload umlsnap, or send it SIGHUP. If it refuses the new config, its log says why.'
      : 'Name the same config with -c, or restart the daemon with this one.',
    facts: { ...facts, configFile: answer.configFile },
  });
}
