import type { Config } from '../config/config.js';
import { isHistoryFailure, UmlsnapError } from '../errors.js';
import type { JobFilter } from '../history/job-queries.js';
import type { Store } from '../store/store.js';

/** What may know a guest that the config no longer has. An error in place of the history is one that can't be used. */
export interface GuestTraces {
  config: Config;
  stores: readonly Pick<Store, 'name' | 'isMounted' | 'list'>[];
  history:
    | {
        storeId(store: string): Promise<string | null>;
        jobs(filter: JobFilter): Promise<unknown[]>;
        snapshots(filter: { guest: string }): Promise<unknown[]>;
        events(filter: { guest: string; limit: number }): Promise<unknown[]>;
      }
    | UmlsnapError;
}

/**
 * Tells a name that was mistyped from a guest that has nothing to show: a guest is one that the config has, the history has a row of, or
 * a store a snapshot. As long as one of these can't be asked, a name is given the benefit of the doubt.
 * @throws NoSuchGuest
 */
export async function requireKnownGuest(guest: string, traces: GuestTraces): Promise<void> {
  const { config, history, stores } = traces;
  if (Object.hasOwn(config.guests, guest) || (await isInHistory(guest, history))) return;
  for (const store of stores) if (await mayHave(store, guest, history)) return;
  const lookedIn = 'the config, the history and the stores';
  throw new UmlsnapError('NoSuchGuest', { guest, known: Object.keys(config.guests), lookedIn });
}

async function isInHistory(guest: string, history: GuestTraces['history']): Promise<boolean> {
  if (history instanceof UmlsnapError) return true;
  try {
    const rows = [
      await history.jobs({ guest, limit: 1 }),
      await history.snapshots({ guest }),
      await history.events({ guest, limit: 1 }),
    ];
    return rows.flat().length > 0;
  } catch (error) {
    if (isHistoryFailure(error)) return true;
    throw error;
  }
}

async function mayHave(
  store: GuestTraces['stores'][number],
  guest: string,
  history: GuestTraces['history'],
): Promise<boolean> {
  try {
    const known = history instanceof UmlsnapError ? null : await history.storeId(store.name);
    return (await store.isMounted(known)) && (await store.list(guest)).length > 0;
  } catch (error) {
    if (error instanceof UmlsnapError) return true;
    throw error;
  }
}
