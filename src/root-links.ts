import { lstat, readlink } from 'node:fs/promises';
import { errnoOf } from './errors.js';

export interface RootEntry {
  path: string;
  /** null: a directory. */
  linkTo: string | null;
}

/** What programs expect at the root of a host: links into /usr, or directories where a host keeps them apart. */
export async function rootLinks(): Promise<RootEntry[]> {
  const entries: RootEntry[] = [];
  for (const path of ['/bin', '/sbin', '/lib', '/lib32', '/lib64', '/libx32']) {
    const found = await lstat(path).catch((error: unknown) => {
      if (errnoOf(error) === 'ENOENT') return null;
      throw error;
    });
    if (found !== null) entries.push({ path, linkTo: found.isSymbolicLink() ? await readlink(path) : null });
  }
  return entries;
}
