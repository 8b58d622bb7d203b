import type { ServerResponse } from 'node:http';
import type { JobRegistry, JobWatcher, RunningJob } from '../control/job-registry.js';

/** At a time; each is a connection that stays. */
const maxStreams = 64;
const maxStreamsOfOne = 16;
/** A viewer that reads nothing may have so much waiting for it; then it is let go, and comes back by itself. */
const maxUnreadBytes = 256 * 1024;
/** Often enough for a proxy that ends what is silent. */
const heartbeatMs = 20_000;

/**
 * What happens now, for pages that are open, as server-sent events: `job` is how far a job is, `changed` names a guest of which
 * a page may show something else now. What a page shows of it, it asks for.
 */
export class LiveFeed {
  readonly #viewers = new Map<ServerResponse, string | null>();
  readonly #onViewer: () => void;
  readonly #endWatch: () => void;
  readonly #heartbeat: NodeJS.Timeout;

  /** @param onViewer called while somebody looks, now and then */
  constructor(registry: JobRegistry, onViewer: () => void) {
    this.#onViewer = onViewer;
    const watcher: JobWatcher = {
      begun: (job) => this.#changedBy(job),
      said: (job, object) => this.#send('job', progressOf(job, object)),
      ended: (job) => this.#changedBy(job),
    };
    this.#endWatch = registry.watch(watcher);
    this.#heartbeat = setInterval(() => this.#beat(), heartbeatMs).unref();
  }

  /**
   * @param viewer who it is; null: a stranger, and all of them together are as one, beside those who are known
   * @returns false: that one has streams enough, or all who are known have
   */
  join(response: ServerResponse, viewer: string | null): boolean {
    const viewers = [...this.#viewers.values()];
    if (viewers.filter((one) => one === viewer).length >= maxStreamsOfOne) return false;
    if (viewer !== null && viewers.filter((one) => one !== null).length >= maxStreams) return false;
    response.on('error', () => response.destroy());
    response.once('close', () => this.#viewers.delete(response));
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
    response.write('retry: 3000\n\n');
    this.#viewers.set(response, viewer);
    this.#onViewer();
    return true;
  }

  changed(guest: string): void {
    this.#send('changed', { guest });
  }

  /** Ends what somebody has open who may not look any more, also where they don't read. */
  dismiss(viewer: string): void {
    for (const [response, of] of this.#viewers) if (of === viewer) response.destroy();
  }

  close(): void {
    clearInterval(this.#heartbeat);
    this.#endWatch();
    for (const response of this.#viewers.keys()) response.end();
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
    for (const response of this.#viewers.keys()) {
      if (response.destroyed || response.writableEnded) continue;
      response.write(text);
      if (response.writableLength > maxUnreadBytes) response.destroy();
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
