import { explainError } from '../error-text.js';
import type { Incoming } from '../store/incoming.js';
import type { SnapshotLog, SnapshotStore } from './ports.js';

/** Runs `use` with a place for the incoming copy; what was not sealed by then is thrown away. */
export async function withIncoming<T>(
  store: SnapshotStore,
  { guest, job, log }: { guest: string; job: string; log: SnapshotLog },
  use: (incoming: Incoming) => Promise<T>,
): Promise<T> {
  const incoming = await store.begin(guest, job);
  return await undoing(
    () => use(incoming),
    () => store.discard(incoming),
    (problem) => {
      const what = `what store ${store.name} had received and not sealed`;
      if (problem === null) log.info(`undone: ${what} was thrown away`);
      else log.warn(`not undone: ${what} is left to \`recover\`: ${explainError(problem)}`);
    },
  );
}

/** As try and finally, but what went wrong first is what is told: a failing undo leaves its rest to `recover`. */
export async function undoing<T>(
  use: () => Promise<T>,
  undo: () => Promise<void>,
  undone: (problem: unknown) => void = () => {},
): Promise<T> {
  let value: T;
  try {
    value = await use();
  } catch (error) {
    await undo().then(() => undone(null), undone);
    throw error;
  }
  await undo();
  return value;
}
