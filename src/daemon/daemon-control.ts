import type { FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import { controlSocketPath } from '../control/control-socket.js';
import { controlProtocol, type DaemonStatus, digestOf } from '../control/daemon-status.js';
import type { JobRegistry } from '../control/job-registry.js';
import type { DispatcherEvent, RequestDispatcher } from '../control/request-dispatcher.js';
import type { LiveSettings } from '../control/settings.js';
import { explainError } from '../error-text.js';
import { isError } from '../errors.js';
import type { LiveConfig } from './live-config.js';

export interface ControlOptions {
  dispatcher: RequestDispatcher;
  registry: JobRegistry;
  settings: LiveSettings;
  log: Logger;
  config: LiveConfig;
  /** Adds what else is served on the socket. */
  extend?(app: FastifyInstance): void;
}

/** Runs `use` while the daemon takes requests; where it can't, the schedule runs all the same, and the log says so. */
export async function withControl<T>(options: ControlOptions, use: () => Promise<T>): Promise<T> {
  const { log, config } = options;
  const { withControlServer } = await import('../control/control-server.js');
  const { state, control } = config.get();
  const startedAt = new Date().toISOString();
  const status = () => statusOf(options, startedAt);
  let isListening = false;
  try {
    const rights = { socketPath: controlSocketPath(state), group: control.group };
    return await withControlServer({ ...options, ...rights, status }, () => {
      isListening = true;
      return use();
    });
  } catch (error) {
    if (isListening || !(isError(error, 'ControlUnusable') || isError(error, 'SocketPathTooLong')))
      throw error;
    log.error(explainError(error));
    return await use();
  }
}

function statusOf(
  { dispatcher, registry, settings, config }: ControlOptions,
  startedAt: string,
): DaemonStatus {
  const current = config.get();
  return {
    ...{ type: 'daemon', protocol: controlProtocol, pid: process.pid, state: current.state, startedAt },
    ...{ configFile: current.file, configDigest: digestOf(current) },
    ...{ configReadAt: config.readAt, refusedReload: config.refused },
    ...{ settings: settings.current, jobs: registry.running(), requests: dispatcher.running() },
  };
}

/** What the dispatcher does, for the log: all of it while `debug` is on, and always what failed beyond what its client was told. */
export function logDispatcherEvent(log: Logger, event: DispatcherEvent): void {
  const { id, number, requester, command } = event.request;
  const facts = { id, number, ...command, requester };
  switch (event.event) {
    case 'taken':
      log.debug(facts, 'request taken');
      return;
    case 'answered':
      log.debug({ ...facts, status: event.status, job: event.job }, 'request answered');
      return;
    case 'refused': {
      const level = event.because.code === 'UnknownRequest' ? 'error' : 'debug';
      log[level](facts, `request refused: ${explainError(event.because)}`);
      return;
    }
    case 'failed': {
      // Whoever wanted no answer has nothing but the log.
      const level = id === 0 || event.error.code === 'Internal' ? 'error' : 'info';
      log[level](facts, `request failed: ${explainError(event.error)}`);
    }
  }
}
