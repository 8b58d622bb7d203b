import { createHash } from 'node:crypto';
import type { Config } from '../config/config.js';
import type { ErrorCode } from '../errors.js';
import type { RunningJob } from './job-registry.js';
import type { RunningRequest } from './request-dispatcher.js';
import type { Settings } from './settings.js';

/** Raised with every change that an older client or daemon would misunderstand. */
export const controlProtocol = 2;

/** A daemon, by itself. */
export interface DaemonStatus {
  type: 'daemon';
  protocol: number;
  pid: number;
  state: string;
  configFile: string;
  /** Of the config as it is in force; see `digestOf`. */
  configDigest: string;
  /** What is written to its file later is not in it. */
  configReadAt: string;
  /** null: the config was good when it was last read. */
  refusedReload: RefusedReload | null;
  startedAt: string;
  settings: Settings;
  jobs: RunningJob[];
  requests: RunningRequest[];
}

/** A config that was to be read again and is not in force, for the one before it is. */
export interface RefusedReload {
  /** ISO 8601. */
  at: string;
  code: ErrorCode;
  /** For people. */
  problem: string;
}

/**
 * What tells one config from another, defaults and all: a command has a daemon do its work only where both have the same,
 * so that the result does not depend on whether one runs.
 */
export function digestOf(config: Config): string {
  return createHash('sha256').update(JSON.stringify(config)).digest('hex');
}
