import type { CopyDeps } from '../src/copies/ask-stores.js';
import { findCopy } from '../src/copies/find-copy.js';
import { type PinHistory, setPinned } from '../src/copies/set-pinned.js';
import type { Store } from '../src/store/store.js';

export interface Pinned {
  /** Its full name. */
  snapshot: string;
  /** Those that have it, and know of it now. */
  stores: string[];
  /** What kept others from it, for people. */
  problems: string[];
}

/**
 * Pins a snapshot, which no rule removes then, or lets the rules decide about it again; in every store that has it.
 * @param name may be `guest@latest`
 * @throws as `findCopy` and `setPinned`
 */
export async function pin(
  name: string,
  pinned: boolean,
  deps: CopyDeps<Store> & { stateDirectory: string; history: PinHistory },
): Promise<Pinned> {
  const { stored } = await findCopy(deps, { name, takesUnsound: true });
  return { snapshot: stored.snapshot, ...(await setPinned(deps, { found: stored, pinned }, deps.history)) };
}
