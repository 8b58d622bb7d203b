/** What is to be kept. A missing rule keeps nothing by itself; an empty policy keeps everything. */
export interface KeepPolicy {
  last?: number;
  hourly?: number;
  daily?: number;
  weekly?: number;
  monthly?: number;
  yearly?: number;
  /** Everything that was taken within this time before the newest good snapshot. */
  withinMs?: number;
}
