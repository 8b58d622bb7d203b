import { UmlsnapError } from '../src/errors.js';
import type { RestoreSource } from '../src/restore/restore-source.js';
import { verifySnapshot } from '../src/restore/verify-snapshot.js';
import { type JobHistory, type JobSummary, recordedJob } from './recorded-job.js';

/** Reads a whole snapshot again and holds it against its checksums. A damaged one is a failed job. */
export async function verify(
  source: RestoreSource,
  history: JobHistory,
  signal: AbortSignal,
): Promise<JobSummary> {
  const { snapshot, guest } = source.manifest;
  return await recordedJob(history, { kind: 'verify', guest, trigger: 'manual' }, async (run) => {
    run.facts = { snapshot };
    const verdict = await verifySnapshot(source, signal);
    if (!verdict.ok) throw new UmlsnapError('SnapshotDamaged', { snapshot, problem: verdict.problem });
  });
}
