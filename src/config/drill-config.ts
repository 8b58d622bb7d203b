/** How snapshots are booted to prove them. */
export interface DrillConfig {
  /** User and group, by number, that a drill's guest runs as where we are root. */
  user: number;
  /** Directory for the copies of the disks; absolute. */
  scratch: string;
  /** node-cron expression; null: by hand only. */
  schedule: string | null;
  /** IANA name. */
  timezone: string;
  /** How many snapshots a scheduled run drills, each of another guest. */
  sample: number;
  /** For snapshots of guests that the config does not have any more. */
  others: DrillSettings;
  /** By the name of the guest. */
  guests: Record<string, DrillSettings>;
}

export interface DrillSettings {
  /** A UML kernel: an absolute path, or null for the first `linux.uml` or `linux` on the PATH. */
  kernel: string | null;
  /** What the guest is told on its command line, beside its disks and its memory. */
  arguments: string[];
  memoryBytes: number;
  /** For the guest, from its start to its proof of life. */
  timeoutMs: number;
  /** How long init must run without an accident where nothing is expected. */
  holdMs: number;
  /** What a line of the console or a notification must hold; `*` stands for anything. null: nothing is expected. */
  expect: string | null;
  /** Whether the agent in the guest has to run its hooks in /etc/umlsnap/drill.d, and they must succeed. */
  hooks: boolean;
}

/** How the snapshots of a guest are drilled. */
export function drillSettingsOf(config: DrillConfig, guest: string): DrillSettings {
  return config.guests[guest] ?? config.others;
}
