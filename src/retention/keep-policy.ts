/** What is to be kept. A missing rule keeps nothing by itself; an empty policy keeps everything. */
export interface KeepPolicy {
  last?: number;
  hourly?: number;
  daily?: number;
  weekly?: number;
  monthly?: number;
  yearly?: number;
  /** Everything younger than this. */
  withinMs?: number;
}
