import { randomInt } from 'node:crypto';
import { stat } from 'node:fs/promises';
import type { Config } from '../config/config.js';
import { ControlClient, errorIn } from '../control/control-client.js';
import { controlProtocol, type DaemonStatus, digestOf } from '../control/daemon-status.js';
import type { RequestBody } from '../control/request-body.js';
import { explainError } from '../error-text.js';
import { isError, UmlsnapError } from '../errors.js';
import type { JobSummary } from '../job/recorded-job.js';
import { warn } from '../output.js';
import { recoverFromDeath } from '../start.js';

export interface Delegated {
  config: Config;
  request: Omit<RequestBody, 'id'>;
  /** As the command does when it works alone. */
  onProgress?: (progress: Record<string, unknown>) => void;
  onSummary(summary: JobSummary): void;
  signal?: AbortSignal;
}

/**
 * Has a running daemon do what a command was asked to do, if there is one of the very same config: then neither of them
 * waits for the other, and the result is the same.
 * @returns false when there is none, and the command has to do it alone
 * @throws what the daemon tells as an error, DaemonGone
 */
export async function throughDaemon(delegated: Delegated): Promise<boolean> {
  const { config, request, signal } = delegated;
  signal?.throwIfAborted();
  const client = new ControlClient(config.state);
  if (!(await servesUs(client, config))) return false;
  let told: UmlsnapError | undefined;
  const take = (object: Record<string, unknown>) => {
    if (object.type === 'error') told = errorIn(object);
    else if (object.type === 'summary') delegated.onSummary(object as unknown as JobSummary);
    else delegated.onProgress?.(object);
  };
  try {
    const { cut } = await client.request({ ...request, id: newRequestId() }, take, signal);
    if (cut) warn('warning: the daemon had more to tell than fits into an answer');
  } catch (error) {
    // Or was killed: then whatever it has left is put right by us, now.
    if (isError(error, 'DaemonGone')) await recoverOrWarn(config);
    throw error;
  }
  if (!told) return true;
  // It would do this for nobody: that keeps no command from doing it.
  if (isError(told, 'NotListening') || isError(told, 'TooManyRequests')) return false;
  throw told;
}

/** What counts is that the daemon is gone: a failure on top of it is told, and takes nothing from that. */
async function recoverOrWarn(config: Config): Promise<void> {
  try {
    await recoverFromDeath(config);
  } catch (error) {
    warn(explainError(error));
  }
}

/** No two requests of this host may have the same id at a time. */
export function newRequestId(): number {
  return randomInt(1, 0x7fffffff);
}

/** Also a time zone or a home of ours can make another config of one file. */
async function hasChangedSince(file: string, { configFile, configReadAt }: DaemonStatus): Promise<boolean> {
  return file === configFile && (await stat(file)).mtime > new Date(configReadAt);
}

/** A daemon that can't be asked what it is will not be asked for more. */
async function servesUs(client: ControlClient, config: Config): Promise<boolean> {
  try {
    const status = await client.status();
    const { protocol, state, configDigest } = status;
    if (protocol !== controlProtocol || state !== config.state) return false;
    if (configDigest === digestOf(config)) return true;
    if (await hasChangedSince(config.file, status))
      warn(
        `warning: the daemon (pid ${status.pid}) has not read ${config.file} since it was changed, so that this is done without it. Have it read again: kill -HUP ${status.pid}`,
      );
    return false;
  } catch (error) {
    if (error instanceof UmlsnapError) return false;
    throw error;
  }
}
