import type { VerificationRecord, VerifyResult } from '../history/records.js';

/** What has been found out about snapshots. */
export interface Findings {
  verifications(filter: { store: string }): Promise<VerificationRecord[]>;
}

const whatWasFound: Partial<Record<VerifyResult, string>> = {
  damaged: 'found it damaged',
  badFilesystem: 'found a filesystem in it that is not sound',
};

/**
 * Snapshots in a store whose last verification found them bad, with what is to be told of each. A verification that could not
 * be carried out says nothing of its snapshot.
 */
export async function knownDamage(findings: Findings, store: string): Promise<Map<string, string>> {
  const damage = new Map<string, string>();
  for (const { snapshot, result, verifiedAt } of await findings.verifications({ store })) {
    const found = whatWasFound[result];
    if (found !== undefined) damage.set(snapshot, `its last verification (${verifiedAt}) ${found}`);
  }
  return damage;
}
