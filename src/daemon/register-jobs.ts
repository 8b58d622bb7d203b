import type { JobRegistry } from '../control/job-registry.js';
import type { Work } from '../control/request-dispatcher.js';

/** Runs `use` with its jobs in the registry, one after the other, with all that they say. */
export async function registerJobs<T>(
  registry: JobRegistry,
  work: Work,
  use: (work: Work) => Promise<T>,
): Promise<T> {
  let current: string | undefined;
  const post = (object: object) => {
    if (current !== undefined) registry.publish(current, object);
  };
  const endCurrent = () => {
    if (current !== undefined) registry.end(current);
  };
  try {
    return await use({
      signal: work.signal,
      publish: (progress) => {
        post(progress);
        work.publish(progress);
      },
      put: (output) => {
        post(output);
        work.put(output);
      },
      onJob: (job) => {
        endCurrent();
        current = job.job;
        registry.begin(job);
        work.onJob(job);
      },
    });
  } finally {
    endCurrent();
  }
}
