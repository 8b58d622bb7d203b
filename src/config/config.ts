import type { KeepPolicy } from '../retention/keep-policy.js';

/** The config after defaults are applied and every value is turned into its unit. Plain data. */
export interface Config {
  /** The file it came from. */
  file: string;
  /** Directory of history.db, leases and sockets; absolute. */
  state: string;
  /** How many guests may be worked on at the same time by the daemon. */
  concurrency: number;
  stores: Record<string, StoreConfig>;
  guests: Record<string, GuestConfig>;
}

export interface StoreConfig {
  name: string;
  type: 'directory';
  path: string;
}

export interface DiskConfig {
  /** `ubd0` … `ubd15` */
  device: string;
  /** Absolute path of the image, or of the COW file. */
  path: string;
  /** Absolute path of the backing file: the disk is COW exactly when it is there. */
  backing?: string;
}

export type CaptureChoice = 'auto' | 'reflink' | 'copy';

export interface GuestConfig {
  name: string;
  /** A umid, or an absolute path of a socket. */
  mconsole: string;
  disks: DiskConfig[];
  /** Name of the store that is captured into. */
  store: string;
  /** node-cron expression; absent: by hand only. */
  schedule?: string;
  /** IANA name. */
  timezone: string;
  catchUp: boolean;
  jitterMs: number;
  pauseBudgetMs: number;
  require: 'synced' | 'crash';
  capture: CaptureChoice;
  keep: KeepPolicy;
  allowSmp: boolean;
  /** How often stop and look is tried to reach `synced`. */
  syncTries: number;
  /** How long quiesce may wait for the guest's writes to settle, each try. */
  settleTimeoutMs: number;
  labels: Record<string, string>;
}
