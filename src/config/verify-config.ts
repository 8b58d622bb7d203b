/** How snapshots are verified, after defaults are applied. */
export interface VerifyConfig {
  /** node-cron expression; null: by hand only. */
  schedule: string | null;
  /** Of the schedule; IANA name. */
  timezone: string;
  /** Scheduled runs read each snapshot once in this time. */
  withinMs: number;
  /** Limits what is read of the stores; null: no limit. */
  bytesPerSecond: number | null;
  /** Whether the filesystems in the images are checked as well. */
  filesystems: boolean;
  /** Where the private copies of that are made; null: in the store where it has reflinks, in the state directory elsewhere. */
  scratch: string | null;
  /** Whom the checkers run as, where we are root. */
  user: string;
}
