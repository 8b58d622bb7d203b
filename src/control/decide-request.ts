import { type ErrorCode, type FactsByCode, UmlsnapError } from '../errors.js';
import type { ControlCommand, Request } from './request.js';
import { listensTo, type Settings } from './settings.js';

/** What a daemon does with a request: carries it out, or not, and why. */
export type Decision = { does: 'run'; command: ControlCommand } | { does: 'refuse'; because: UmlsnapError };

export interface DispatcherState {
  settings: Settings;
  /** Requests under way, of anybody. */
  runningRequests: number;
  /** Those of them that are this requester's. */
  runningOfRequester: number;
  /** This requester has another request of the same id under way. */
  idIsTaken: boolean;
}

/** Each is a job, a process or a file descriptor or two: nobody who asks for more than this means it. */
export const maxRequestsAtOnce = 64;
/** One guest's verifications MUST NOT be what keeps every other guest waiting: each reads a whole snapshot. */
export const maxRequestsOfGuest = 4;

/** Decides about a request, without doing anything. */
export function decideRequest(request: Request, state: DispatcherState): Decision {
  const { number, command, id } = request;
  const { settings } = state;
  // First: a command that is not listened to works alone, and would remove what is to be kept.
  if (command?.type === 'prune' && settings.keep && !command.dryRun) return refuse('KeepIsOn', {});
  if (!listensTo(settings, number)) return refuse('NotListening', { number, type: settings.type });
  if (!command) return refuse('UnknownRequest', { number });
  // Whatever is under way, it can be ended.
  if (command.type === 'cancel') return { does: 'run', command };
  if (state.idIsTaken) return refuse('RequestIdTaken', { id });
  if (state.runningRequests >= maxRequestsAtOnce)
    return refuse('TooManyRequests', { running: state.runningRequests });
  if (request.requester.from === 'guest' && state.runningOfRequester >= maxRequestsOfGuest)
    return refuse('TooManyRequests', { running: state.runningOfRequester });
  return { does: 'run', command };
}

function refuse<C extends ErrorCode>(code: C, facts: FactsByCode[C]): Decision {
  return { does: 'refuse', because: new UmlsnapError(code, facts) };
}
