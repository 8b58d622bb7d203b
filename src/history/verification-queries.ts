import type { Kysely, Selectable, Transaction } from 'kysely';
import type { VerificationRecord } from './records.js';
import type { Tables, VerificationsTable } from './tables.js';

export interface VerificationFilter {
  store?: string;
  snapshot?: string;
}

/**
 * In the place of the one before: the jobs of the history tell of those. One that could not be carried out says nothing of its
 * snapshot, so it takes the place of none that found it bad.
 */
export async function upsertVerification(
  db: Transaction<Tables>,
  verification: VerificationRecord,
): Promise<void> {
  const { store, snapshot } = verification;
  const values = {
    job: verification.job,
    verified_at: verification.verifiedAt,
    result: verification.result,
    problem: verification.problem,
    read_bytes: verification.readBytes,
    filesystems: JSON.stringify(verification.filesystems),
  };
  await db
    .insertInto('verifications')
    .values({ store, snapshot, ...values })
    .onConflict((conflict) => {
      const update = conflict.columns(['store', 'snapshot']).doUpdateSet(values);
      if (verification.result !== 'notRead') return update;
      return update.where('verifications.result', 'not in', ['damaged', 'badFilesystem']);
    })
    .execute();
}

/** The one that was made longest ago first. */
export async function selectVerifications(
  db: Kysely<Tables>,
  { store, snapshot }: VerificationFilter,
): Promise<VerificationRecord[]> {
  let query = db
    .selectFrom('verifications')
    .selectAll()
    .orderBy('verified_at')
    .orderBy('store')
    .orderBy('snapshot');
  if (store !== undefined) query = query.where('store', '=', store);
  if (snapshot !== undefined) query = query.where('snapshot', '=', snapshot);
  return (await query.execute()).map(verificationRecord);
}

/** The columns hold only what our own inserts have put there. */
function verificationRecord(row: Selectable<VerificationsTable>): VerificationRecord {
  return {
    snapshot: row.snapshot,
    store: row.store,
    job: row.job,
    verifiedAt: row.verified_at,
    result: row.result as VerificationRecord['result'],
    problem: row.problem,
    readBytes: row.read_bytes,
    filesystems: JSON.parse(row.filesystems),
  };
}
