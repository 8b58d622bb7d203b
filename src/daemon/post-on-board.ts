import type { JobBoard } from '../control/job-board.js';
import type { Work } from '../control/request-desk.js';

/** Runs `use` with its jobs on the board, one after the other, with all that they say. */
export async function postOnBoard<T>(
  board: JobBoard,
  work: Work,
  use: (work: Work) => Promise<T>,
): Promise<T> {
  let current: string | undefined;
  const post = (object: object) => {
    if (current !== undefined) board.publish(current, object);
  };
  const endCurrent = () => {
    if (current !== undefined) board.end(current);
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
        board.begin(job);
        work.onJob(job);
      },
    });
  } finally {
    endCurrent();
  }
}
