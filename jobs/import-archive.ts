import { isHistoryFailure, problemOf, UmlsnapError } from '../src/errors.js';
import type { IdMemory } from '../src/history/state-id.js';
import type { ImageContent } from '../src/image/image-content.js';
import type { ImageWorkOptions } from '../src/image/image-work.js';
import { storeLocks } from '../src/job/guest-locks.js';
import { type JobHistory, type JobSummary, recordedJob } from '../src/job/recorded-job.js';
import { withLocks } from '../src/locks/exclusive-lock.js';
import { recordOf } from '../src/snapshot/describe-snapshot.js';
import { ensureOwner } from '../src/snapshot/ownership.js';
import type { SnapshotHistory } from '../src/snapshot/ports.js';
import { checkStore } from '../src/snapshot/preflight.js';
import { amended, type Manifest } from '../src/store/manifest.js';
import type { ArrivingFile } from '../src/store/receive.js';
import type { Store } from '../src/store/store.js';
import type { ArchiveInput } from '../src/store/tar/decompress.js';
import { type ArchiveEntry, readArchive } from '../src/store/tar/read-archive.js';

/** A store that takes what comes in an archive's order. */
export type ImportStore = Pick<Store, 'name' | 'path' | 'largestSnapshotBytes' | 'prepare'> & {
  receiveFiles(
    manifest: Manifest,
    files: AsyncIterable<ArrivingFile>,
    options: ImageWorkOptions,
  ): Promise<Manifest>;
};

export interface ImportOrder {
  input: ArchiveInput;
  /** How the archive is called in an error: its path. */
  label: string;
  store: ImportStore;
  stateDirectory: string;
  signal: AbortSignal;
}

/**
 * Takes a snapshot out of an archive into a store:
 * 1. the archive's manifest says which snapshot it is; nobody else works on that guest's part of the store;
 * 2. the job stands in the history;
 * 3. every file is read once, as it comes, and checked; then the archive has to end as one that is whole;
 * 4. only then is the snapshot sealed, as our own, whoever took it; and the history follows.
 * @throws SnapshotDamaged, TooLarge, ImportFailed (the archive can't be read), Busy, HistoryUnusable, HistoryLocked; any other failure is
 * in the summary
 */
export async function importArchive(
  { input, label, store, stateDirectory, signal }: ImportOrder,
  history: SnapshotHistory & JobHistory & IdMemory,
): Promise<JobSummary> {
  try {
    const { largestSnapshotBytes } = store;
    return await readArchive(
      input,
      { label, signal, largestSnapshotBytes },
      async ({ manifest, entries }) => {
        const { guest, snapshot } = manifest;
        const what = `Guest ${guest} in store ${store.name}`;
        const locks = await storeLocks(stateDirectory, store.path, guest);
        const holder = `umlsnap import (pid ${process.pid})`;
        return await withLocks({ locks, what, holder, wait: false, signal }, () =>
          recordedJob(history, { kind: 'import', guest, trigger: 'manual' }, async (run) => {
            run.facts = { snapshot, store: store.name };
            await checkStore(store, history);
            const ours = amended(manifest, { owner: await ensureOwner(stateDirectory, history) });
            const kept = await store.receiveFiles(ours, arriving(entries), { signal });
            // What was found of one that had its name says nothing of it.
            await history.forgetFindings(store.name, kept.snapshot);
            await history.recordSnapshot(recordOf(store.name, kept, 'own'));
          }),
        );
      },
    );
  } catch (error) {
    if (error instanceof UmlsnapError || isHistoryFailure(error) || signal.aborted) throw error;
    throw new UmlsnapError('ImportFailed', { file: label, problem: problemOf(error) }, error);
  }
}

async function* arriving(entries: AsyncIterable<ArchiveEntry>): AsyncGenerator<ArrivingFile> {
  for await (const { kind, file, pieces } of entries) {
    // What is left of it when somebody stops reading is the archive's, which is read no further then.
    const content: ImageContent = { from: 'stream', pieces, close: async () => {} };
    yield { kind, file, open: async () => content, comesBy: true };
  }
}
