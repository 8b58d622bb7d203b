import type { Work } from '../control/request-dispatcher.js';
import { UmlsnapError } from '../errors.js';

/** The jobs under way in this process, so that any of them can be given up by name. */
export class CancellableJobs {
  readonly #abortByJob = new Map<string, AbortController>();

  /** Runs `use` with its jobs known here. */
  async track<T>(work: Work, use: (work: Work) => Promise<T>): Promise<T> {
    const abort = new AbortController();
    const jobs: string[] = [];
    try {
      return await use({
        ...work,
        signal: AbortSignal.any([work.signal, abort.signal]),
        onJob: (job) => {
          jobs.push(job.job);
          this.#abortByJob.set(job.job, abort);
          work.onJob(job);
        },
      });
    } finally {
      for (const job of jobs) this.#abortByJob.delete(job);
    }
  }

  /** Has a job given up: its guest is resumed first, then all that it began is undone. @returns false: there is no such job */
  cancel(job: string, because: string): boolean {
    const abort = this.#abortByJob.get(job);
    abort?.abort(new UmlsnapError('Interrupted', { signal: because }));
    return abort !== undefined;
  }
}
