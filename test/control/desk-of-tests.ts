import { JobBoard } from '../../src/control/job-board.js';
import { postOnBoard } from '../../src/daemon/post-on-board.js';
import type { Demand, Request } from '../../src/control/request.js';
import { numberOf } from '../../src/control/request.js';
import { type DeskEvent, RequestDesk, type Work } from '../../src/control/request-desk.js';
import { LiveSettings } from '../../src/control/settings.js';
import { UmlsnapError } from '../../src/errors.js';

/** A desk whose every job waits until it is let go, or is aborted: snapshots that take as long as a test likes. */
export class HeldDesk {
  readonly settings = new LiveSettings({});
  readonly board = new JobBoard();
  readonly events: DeskEvent['event'][] = [];
  readonly desk: RequestDesk;
  readonly #held: (() => void)[] = [];
  #jobs = 0;

  constructor() {
    this.desk = new RequestDesk({
      settings: () => this.settings.current,
      carryOut: (demand, asked) => postOnBoard(this.board, asked, (work) => this.#hold(demand, work)),
      report: ({ event }) => this.events.push(event),
    });
  }

  letGo(): void {
    for (const go of this.#held.splice(0)) go();
  }

  get heldCount(): number {
    return this.#held.length;
  }

  async #hold(demand: Demand, { signal, publish, put, onJob }: Work): Promise<0> {
    if (demand.type === 'verify' && 'snapshot' in demand)
      throw new UmlsnapError('NoSuchSnapshot', { snapshot: demand.snapshot });
    this.#jobs += 1;
    const guest = demand.type === 'snapshot' ? demand.guest : null;
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

export function requestFor(demand: Demand, id = 1, guest?: string): Request {
  const requester =
    guest === undefined ? { from: 'host' as const, pid: 1 } : { from: 'guest' as const, guest };
  return { id, number: numberOf(demand.type), requester, demand };
}

export const snapshotOf = (guest: string): Demand => ({ type: 'snapshot', guest, options: {} });
