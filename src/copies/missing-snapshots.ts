import { listOwn, type OwnershipHistory } from '../snapshot/ownership.js';
import type { RetentionPlanner } from '../snapshot/retain.js';
import { asListed, type Findings } from '../store/soundness.js';
import type { Store } from '../store/store.js';
import { isSound, type SoundSnapshot, type StoredSnapshot } from '../store/stored-snapshots.js';

/** A snapshot that can be carried, and where it lies. */
export interface Carriable {
  store: Store;
  stored: SoundSnapshot;
}

/**
 * What these stores hold of a guest and is ours, each snapshot once: as the first of them has it whose copy is not damaged. Whether it
 * boots is no matter of its bytes.
 */
export async function carriableFrom(
  stores: Store[],
  guest: string,
  { findings, history }: { findings: Findings; history: OwnershipHistory },
): Promise<Carriable[]> {
  const found = new Map<string, Carriable>();
  for (const store of stores) {
    for (const stored of (await listOwn(store, guest, history)).filter(isSound)) {
      if (findings.soundnessOf(store.name, asListed(stored), false).type === 'damaged') continue;
      const { job } = stored.manifest;
      if (!found.has(job)) found.set(job, { store, stored });
    }
  }
  return [...found.values()];
}

/**
 * What a store has missed, oldest first, so that whatever ends the filling leaves no gap before what is there. Not what the
 * keep rules would remove there at once. A snapshot is the same as another if both are ours and of one job: another's may have its
 * name there. One of ours of that name that is damaged is left to people: it is not missing. Pure.
 * @param have what of it is ours
 */
export function missingIn(
  have: StoredSnapshot[],
  carriable: Carriable[],
  planner: RetentionPlanner,
): Carriable[] {
  const isThere = ({ stored }: Carriable) =>
    have.some((one) =>
      isSound(one) ? one.manifest.job === stored.manifest.job : one.snapshot === stored.snapshot,
    );
  const missing = carriable.filter((one) => !isThere(one));
  const { remove } = planner([...have, ...missing.map(({ stored }) => stored)]);
  const expired = new Set(remove.map(({ candidate }) => candidate.stored));
  return missing
    .filter(({ stored }) => !expired.has(stored))
    .sort((a, b) => (a.stored.manifest.takenAt < b.stored.manifest.takenAt ? -1 : 1));
}

/** The name itself, or the next of `NAME-1`, `NAME-2` that nobody has; undefined when all are taken. Pure. */
export function freeName(snapshot: string, taken: ReadonlySet<string>): string | undefined {
  const base = snapshot.replace(/-\d{1,3}$/, '');
  const suffixed = Array.from({ length: 999 }, (_, index) => `${base}-${index + 1}`);
  return [snapshot, base, ...suffixed].find((name) => !taken.has(name));
}
