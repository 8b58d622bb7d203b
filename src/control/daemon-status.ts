import { createHash } from 'node:crypto';
import type { Config } from '../config/config.js';
import type { RunningJob } from './job-board.js';
import type { RunningRequest } from './request-desk.js';
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
  startedAt: string;
  settings: Settings;
  jobs: RunningJob[];
  requests: RunningRequest[];
}

/**
 * What tells one config from another, defaults and all: a command has a daemon do its work only where both have the same,
 * so that the result does not depend on whether one runs.
 */
export function digestOf(config: Config): string {
  return createHash('sha256').update(JSON.stringify(config)).digest('hex');
}
