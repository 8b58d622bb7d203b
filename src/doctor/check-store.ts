import { dirname, isAbsolute } from 'node:path';
import { stagingSuffix } from '../config/guest-named.js';
import { UmlsnapError } from '../errors.js';
import { type Finding, fine } from './finding.js';
import { nearestDirectory, problemOfWriting } from './nearest-directory.js';

export interface CheckableStore {
  readonly name: string;
  readonly path: string;
  readonly type: 'directory' | 'tar' | 'restic';
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
  if (!(await store.isMounted(expectedId))) {
    requireMakeable(store);
    return fine(about, `Will be made by the first backup: ${store.path}.`, facts);
  }
  await store.proveWritable();
  return fine(about, `Is there, and takes what is written: ${store.path}.`, facts);
}

/** Something can be made where it is to be; only a staging, and restic, make what lies above it. @throws StoreUnusable */
function requireMakeable({ name, path, type }: CheckableStore): void {
  if (!isAbsolute(path)) return;
  const place = nearestDirectory(path);
  const makesParents = type === 'restic' || name.endsWith(stagingSuffix);
  const isLacking = !makesParents && ![path, dirname(path)].includes(place);
  const problem = isLacking ? `${dirname(path)} is not there` : problemOfWriting(place);
  if (problem !== null) throw new UmlsnapError('StoreUnusable', { store: name, path, problem });
}
