import type { RetentionPlanner } from '../src/snapshot/retain.js';
import type { Store } from '../src/store/store.js';
import type { Findings } from '../src/store/soundness.js';
import { isSound, type SoundSnapshot, type StoredSnapshot } from '../src/store/stored-snapshots.js';

/** A snapshot that can be carried, and where it lies. */
export interface Carriable {
  store: Store;
  stored: SoundSnapshot;
}

/**
 * What these stores hold of a guest, each snapshot once: as the first of them has it whose copy is not damaged. Whether it boots is
 * no matter of its bytes.
 */
export async function carriableFrom(
  stores: Store[],
  guest: string,
  findings: Findings,
): Promise<Carriable[]> {
  const found = new Map<string, Carriable>();
  for (const store of stores) {
    for (const stored of (await store.list(guest)).filter(isSound)) {
      if (findings.soundnessOf(store.name, stored, false).type === 'damaged') continue;
      if (!found.has(stored.snapshot)) found.set(stored.snapshot, { store, stored });
    }
  }
  return [...found.values()];
}

/**
 * What a store has missed, oldest first, so that whatever ends the filling leaves no gap before what is there. Not what the
 * keep rules would remove there at once. A damaged snapshot of that name is left to people: it is not missing. Pure.
 */
export function missingIn(
  have: StoredSnapshot[],
  carriable: Carriable[],
  planner: RetentionPlanner,
): Carriable[] {
  const names = new Set(have.map(({ snapshot }) => snapshot));
  const missing = carriable.filter(({ stored }) => !names.has(stored.snapshot));
  const { remove } = planner([...have, ...missing.map(({ stored }) => stored)]);
  const expired = new Set(remove.map(({ snapshot }) => snapshot));
  return missing
    .filter(({ stored }) => !expired.has(stored.snapshot))
    .sort((a, b) => (a.stored.manifest.takenAt < b.stored.manifest.takenAt ? -1 : 1));
}
