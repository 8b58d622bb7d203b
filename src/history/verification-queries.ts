import type { Kysely, Selectable, Transaction } from 'kysely';
import { namesOf } from './findings-queries.js';
import type { CapturedBy, FilesystemVerdict, VerificationRecord } from './records.js';
import type { Tables, VerificationsTable } from './tables.js';

export interface VerificationFilter {
  guest?: string;
  store?: string;
  snapshot?: string;
}

/**
 * In the place of the one before: the jobs of the history tell of those. One that could not be carried out says nothing of its
 * snapshot, so it takes the place of none that found it bad; nor does one that looked into no filesystem, or not into all of them,
 * take the place of one that found a filesystem bad.
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
      const { result } = verification;
      if (result === 'notRead')
        return update.where('verifications.result', 'not in', ['damaged', 'badFilesystem']);
      return result === 'ok' && !isLookedInto(verification)
        ? update.where('verifications.result', '<>', 'badFilesystem')
        : update;
    })
    .execute();
}

/** A bad filesystem is known until a look at all of them, in whatever copy, finds them well: nothing less takes it back. */
export async function noteFilesystems(
  db: Transaction<Tables>,
  verification: VerificationRecord,
  { guest, job }: CapturedBy,
): Promise<void> {
  const { store, result, problem, verifiedAt } = verification;
  if (result === 'badFilesystem') {
    const found = { store, found_at: verifiedAt, problem };
    await db
      .insertInto('bad_filesystems')
      .values({ guest, job, ...found })
      .onConflict((conflict) => conflict.columns(['guest', 'job']).doUpdateSet(found))
      .execute();
  } else if (result === 'ok' && isLookedInto(verification)) {
    await db.deleteFrom('bad_filesystems').where('guest', '=', guest).where('job', '=', job).execute();
  }
}

const isLookedInto = ({ filesystems }: VerificationRecord) =>
  filesystems.length > 0 && filesystems.every(({ verdict }) => isFound[verdict]);

/** Whether the checker has found out what a filesystem is. */
const isFound: Record<FilesystemVerdict, boolean> = {
  ...{ sound: true, bad: true, none: true },
  ...{ unproven: false, notChecked: false },
};

/** The one that was made longest ago first. */
export async function selectVerifications(
  db: Kysely<Tables>,
  { guest, store, snapshot }: VerificationFilter,
): Promise<VerificationRecord[]> {
  let query = db
    .selectFrom('verifications')
    .selectAll()
    .orderBy('verified_at')
    .orderBy('store')
    .orderBy('snapshot');
  if (guest !== undefined) {
    const { after, before } = namesOf(guest);
    query = query.where('snapshot', '>', after).where('snapshot', '<', before);
  }
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
