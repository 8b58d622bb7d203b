import type { JobKind, JobRecord } from '../history/records.js';

/** What has been found out about snapshots. */
export interface Findings {
  jobs(filter: { guest: string; kind: JobKind }): Promise<JobRecord[]>;
}

/**
 * Snapshots of a guest whose last verification found them damaged, with what is to be told of each. A verification that could
 * not be carried out says nothing of its snapshot.
 */
export async function knownDamage(findings: Findings, guest: string): Promise<Map<string, string>> {
  const decided = new Set<string>();
  const damage = new Map<string, string>();
  for (const { job, status, error, summary } of await findings.jobs({ guest, kind: 'verify' })) {
    const snapshot = summary?.snapshot;
    if (typeof snapshot !== 'string' || decided.has(snapshot)) continue;
    const isDamaged = error?.code === 'SnapshotDamaged';
    if (!isDamaged && !['success', 'warning'].includes(status)) continue;
    // The newest come first: older verdicts count no more.
    decided.add(snapshot);
    if (isDamaged) damage.set(snapshot, `its last verification (job ${job}) found it damaged`);
  }
  return damage;
}
