import type { ServerResponse } from 'node:http';
import type { BoardWatcher, JobBoard, RunningJob } from '../control/job-board.js';

/** Viewers at a time; each is a connection that stays. */
const maxViewers = 64;
/** A viewer that reads nothing may have so much waiting for it; then it is let go, and comes back by itself. */
const maxUnreadBytes = 256 * 1024;
/** Often enough for a proxy that ends what is silent. */
const heartbeatMs = 20_000;

/**
 * What happens now, for pages that are open, as server-sent events: `job` is how far a job is, `changed` names a guest of which
 * a page may show something else now. What a page shows of it, it asks for.
 */
export class LiveFeed {
  readonly #viewers = new Set<ServerResponse>();
  readonly #onViewer: () => void;
  readonly #endWatch: () => void;
  readonly #heartbeat: NodeJS.Timeout;

  /** @param onViewer called while somebody looks, now and then */
  constructor(board: JobBoard, onViewer: () => void) {
    this.#onViewer = onViewer;
    const watcher: BoardWatcher = {
      begun: (job) => this.#changedBy(job),
      said: (job, object) => this.#send('job', progressOf(job, object)),
      ended: (job) => this.#changedBy(job),
    };
    this.#endWatch = board.watch(watcher);
    this.#heartbeat = setInterval(() => this.#beat(), heartbeatMs).unref();
  }

  /** @returns false: there are viewers enough */
  join(response: ServerResponse): boolean {
    if (this.#viewers.size >= maxViewers) return false;
    response.on('error', () => response.destroy());
    response.once('close', () => this.#viewers.delete(response));
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
    response.write('retry: 3000\n\n');
    this.#viewers.add(response);
    this.#onViewer();
    return true;
  }

  changed(guest: string): void {
    this.#send('changed', { guest });
  }

  close(): void {
    clearInterval(this.#heartbeat);
    this.#endWatch();
    for (const viewer of this.#viewers) viewer.end();
  }

  #changedBy({ guest }: RunningJob): void {
    if (guest !== null) this.changed(guest);
  }

  #beat(): void {
    if (this.#viewers.size === 0) return;
    this.#onViewer();
    this.#write(': \n\n');
  }

  #send(event: string, data: object): void {
    // JSON has no line breaks of its own: a guest's word can't begin another event.
    this.#write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
  }

  #write(text: string): void {
    for (const viewer of this.#viewers) {
      if (viewer.destroyed || viewer.writableEnded) continue;
      viewer.write(text);
      if (viewer.writableLength > maxUnreadBytes) viewer.destroy();
    }
  }
}

/** How far a job is. */
export interface JobProgress {
  job: string;
  guest: string | null;
  kind: string;
  phase: string | null;
  doneBytes: number | null;
  totalBytes: number | null;
}

export function progressOf({ job, guest, kind }: RunningJob, said: object | undefined): JobProgress {
  const { phase, doneBytes, totalBytes } = { ...said } as Record<string, unknown>;
  const bytes = (value: unknown) => (typeof value === 'number' ? value : null);
  return {
    ...{ job, guest, kind, phase: typeof phase === 'string' ? phase : null },
    ...{ doneBytes: bytes(doneBytes), totalBytes: bytes(totalBytes) },
  };
}
