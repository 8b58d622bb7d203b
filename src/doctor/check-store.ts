import { type Finding, fine } from './finding.js';

export interface CheckableStore {
  readonly name: string;
  readonly path: string;
  /** @throws StoreNotMounted, StoreUnusable */
  isMounted(expectedId: string | null): Promise<boolean>;
  /** @throws StoreUnusable, StoreTooFull */
  proveWritable(): Promise<void>;
}

/**
 * Whether the store is there, the one that the history remembers, and can be written to. What speaks against it is thrown, and told
 * as it is.
 */
export async function checkStore(store: CheckableStore, expectedId: string | null): Promise<Finding> {
  const about = { check: 'store', about: store.name } as const;
  const facts = { path: store.path, id: expectedId };
  if (!(await store.isMounted(expectedId)))
    return fine(about, `Will be made by the first backup: ${store.path}.`, facts);
  await store.proveWritable();
  return fine(about, `Is there, and takes what is written: ${store.path}.`, facts);
}
