import { JobRegistry } from '../../src/control/job-registry.js';
import type { ControlCommand, Request } from '../../src/control/request.js';
import { numberOf } from '../../src/control/request.js';
import { type DispatcherEvent, RequestDispatcher, type Work } from '../../src/control/request-dispatcher.js';
import { LiveSettings } from '../../src/control/settings.js';
import { registerJobs } from '../../src/daemon/register-jobs.js';
import { UmlsnapError } from '../../src/errors.js';

/** A dispatcher whose every job waits until it is let go, or is aborted: snapshots that take as long as a test likes. */
export class HeldDispatcher {
  readonly settings = new LiveSettings({});
  readonly registry = new JobRegistry();
  readonly events: DispatcherEvent['event'][] = [];
  readonly dispatcher: RequestDispatcher;
  readonly #held: (() => void)[] = [];
  #jobs = 0;

  constructor() {
    this.dispatcher = new RequestDispatcher({
      settings: () => this.settings.current,
      carryOut: (command, asked) => registerJobs(this.registry, asked, (work) => this.#hold(command, work)),
      report: ({ event }) => this.events.push(event),
    });
  }

  letGo(): void {
    for (const go of this.#held.splice(0)) go();
  }

  get heldCount(): number {
    return this.#held.length;
  }

  async #hold(command: ControlCommand, { signal, publish, put, onJob }: Work): Promise<0> {
    if (command.type === 'verify' && 'snapshot' in command)
      throw new UmlsnapError('NoSuchSnapshot', { snapshot: command.snapshot });
    this.#jobs += 1;
    const guest = command.type === 'snapshot' ? command.guest : null;
    onJob({ job: `job-${this.#jobs}`, kind: 'backup', guest, trigger: 'request' });
    publish({ type: 'progress', guest, phase: 'preflight' });
    await new Promise<void>((go, stop) => {
      this.#held.push(go);
      signal.addEventListener('abort', () => stop(signal.reason), { once: true });
    });
    put({ type: 'summary', guest, status: 'success' });
    return 0;
  }
}

export function requestFor(command: ControlCommand, id = 1, guest?: string): Request {
  const requester =
    guest === undefined ? { from: 'host' as const, pid: 1 } : { from: 'guest' as const, guest };
  return { id, number: numberOf(command.type), requester, command };
}

export const snapshotOf = (guest: string): ControlCommand => ({ type: 'snapshot', guest, options: {} });
