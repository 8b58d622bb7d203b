import { UmlsnapError } from '../src/errors.js';
import type { RestoreSource } from '../src/restore/restore-source.js';
import { verifySnapshot } from '../src/restore/verify-snapshot.js';
import { type JobHistory, type JobOrigin, type JobSummary, recordedIfPossible } from './recorded-job.js';

/**
 * Reads a whole snapshot again and holds it against its checksums. A damaged one is a failed job.
 * @param history an error in its place says why there is none
 */
export async function verify(
  source: RestoreSource,
  history: JobHistory | UmlsnapError,
  signal: AbortSignal,
  { trigger, onJob }: JobOrigin = { trigger: 'manual' },
): Promise<JobSummary> {
  const { snapshot, guest } = source.manifest;
  return await recordedIfPossible(history, { kind: 'verify', guest, trigger }, async (run) => {
    run.facts = { snapshot };
    onJob?.(run.job);
    const verdict = await verifySnapshot(source, { signal });
    if (!verdict.ok) throw new UmlsnapError('SnapshotDamaged', { snapshot, problem: verdict.problem });
  });
}
