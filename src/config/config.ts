import type { KeepPolicy } from '../retention/keep-policy.js';
import type { AlertConfig, HooksConfig } from './alert-config.js';
import type { DrillConfig } from './drill-config.js';
import type { RequestName } from './request-names.js';
import type { StoreConfig } from './store-config.js';
import type { VerifyConfig } from './verify-config.js';

export type { StoreConfig } from './store-config.js';

/** The config after defaults are applied and every value is turned into its unit. Plain data. */
export interface Config {
  /** The file it came from. */
  file: string;
  /** Directory of history.db, leases and sockets; absolute. */
  state: string;
  /** How many guests may be worked on at the same time by the daemon. */
  concurrency: number;
  /** What is larger than that, holes included, is no snapshot: neither taken nor read. */
  largestSnapshotBytes: number;
  control: ControlConfig;
  /** Who is told when something goes wrong. */
  alerts: AlertConfig[];
  drill: DrillConfig;
  verify: VerifyConfig;
  /** null: pages and metrics are nowhere. */
  dashboard: DashboardConfig | null;
  stores: Record<string, StoreConfig>;
  guests: Record<string, GuestConfig>;
  /** Its paths that led through links, which are resolved in all the rest. */
  links: FollowedLink[];
}

/** A path of the config file, and where it leads. */
export interface FollowedLink {
  from: string;
  to: string;
}

export interface ControlConfig {
  /** Whose members may ask the daemon, beside its own user; null: nobody's. */
  group: string | null;
}

/** Where pages and metrics are, beside the control socket. */
export interface DashboardConfig {
  /** An IP address. */
  address: string;
  /** 0: any that is free. */
  port: number;
  /** Holds what proves that somebody may do what the control socket allows; made when it is not there. */
  tokenFile: string;
  /** Names under which browsers may ask for it, beside addresses and localhost; lower case. */
  hosts: string[];
  /** Whoever gets to it may read it; on a loopback address only. */
  readWithoutToken: boolean;
}

export interface DiskConfig {
  /** `ubd0` … `ubd15` */
  device: string;
  /** Absolute path of the image, or of the COW file. */
  path: string;
  /** Absolute path of the backing file: the disk is COW exactly when it is there. */
  backing?: string;
}

export type CaptureChoice = 'auto' | 'reflink' | 'precopy' | 'copy';
/** How a precopy knows what the guest writes meanwhile. */
export type TrackerChoice = 'auto' | 'traced' | 'compared';

export interface GuestConfig {
  name: string;
  /** A umid, or an absolute path of a socket. */
  mconsole: string;
  /** Where the guest has said its socket is, if it has said so to whoever asks: in no config file. */
  reportedConsole?: string;
  disks: DiskConfig[];
  /** Name of the user who runs it; null: the owner of its disks, which are then all one user's. */
  user: string | null;
  /** Name of the store that is captured into, or into its staging directory. */
  store: string;
  /** Names of the stores that are filled from it afterwards. */
  otherStores: string[];
  /** node-cron expression; absent: by hand only. */
  schedule?: string;
  /** IANA name. */
  timezone: string;
  catchUp: boolean;
  jitterMs: number;
  pauseBudgetMs: number;
  /** The weakest that counts as success; `crash`: whatever can be reached. */
  require: 'frozen' | 'synced' | 'crash';
  /** Whether filesystems are frozen by the agent in the guest, where there is one. */
  agent: 'auto' | 'off';
  /** Absolute path of the socket that the guest notifies (`mconsole=notify:PATH`). */
  notify: string;
  /** Name of the user who may write to it; null: `user`, or whoever runs the guest, or has its first disk where it does not run. */
  notifyOwner: string | null;
  capture: CaptureChoice;
  /** Limits what a precopy copies while the guest runs; null: no limit. */
  precopyBytesPerSecond: number | null;
  precopyTracker: TrackerChoice;
  /** A precopy goes on while the guest runs until the rest can be copied in this time. */
  pauseTargetMs: number;
  keep: KeepPolicy;
  /** Whether snapshots of it are drilled by the schedule: only then a failed drill speaks against one. */
  isDrilled: boolean;
  allowSmp: boolean;
  /** How often a guest that looks clean is stopped to find that it is, and for how many `settleTimeoutMs` that is looked for. */
  syncTries: number;
  /** How long a sync may wait for the guest's writes to settle, each try. */
  settleTimeoutMs: number;
  /** How long the agent's hooks, sync and freeze may take. */
  freezeTimeoutMs: number;
  /** The host's own programs around a backup. */
  hooks: HooksConfig;
  /** What the guest itself may ask the daemon for. */
  requests: RequestName[];
  labels: Record<string, string>;
}
