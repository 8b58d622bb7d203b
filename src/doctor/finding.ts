/** What `umlsnap doctor` looks at, in the order in which it tells. */
export type CheckName =
  | 'rights'
  | 'state'
  | 'history'
  | 'clock'
  | 'timezone'
  | 'daemon'
  | 'slots'
  | 'guardian'
  | 'tracing'
  | 'programs'
  | 'syslog'
  | 'orphans'
  | 'store'
  | 'owners'
  | 'room'
  | 'guest'
  | 'backups'
  | 'copies'
  | 'kernel'
  | 'cpus'
  | 'disks'
  | 'capture'
  | 'cow'
  | 'sysrq'
  | 'agent'
  | 'level'
  | 'stopAndGo';

/** `unknown`: it could not be found out, which is never to be read as `ok`. */
export type Level = 'ok' | 'warning' | 'critical' | 'unknown';

interface Found {
  check: CheckName;
  /** The guest or the store that it is about; null: the host. */
  about: string | null;
  /** What was found, one sentence. */
  what: string;
  facts: Record<string, unknown>;
}

/** One thing that was looked at. Whatever is not in order says what it means for backups, and how to mend it. */
export type Finding = Found &
  ({ level: 'ok'; means: null; mend: null } | { level: Exclude<Level, 'ok'>; means: string; mend: string });

type About = Pick<Found, 'check' | 'about'>;

/** @param what one sentence, for people */
export function fine(about: About, what: string, facts: Record<string, unknown> = {}): Finding {
  return { ...about, level: 'ok', what, means: null, mend: null, facts };
}

export interface Trouble {
  level: Exclude<Level, 'ok'>;
  what: string;
  means: string;
  mend: string;
  facts?: Record<string, unknown>;
}

export function trouble(about: About, { facts = {}, ...told }: Trouble): Finding {
  return { ...about, ...told, facts };
}

const order: Level[] = ['ok', 'unknown', 'warning', 'critical'];

/** The worst of them: what is not known is worse than what is in order, and better than what is known to be wrong. */
export function worstLevel(levels: readonly Level[]): Level {
  return order[Math.max(0, ...levels.map((level) => order.indexOf(level)))] ?? 'ok';
}
