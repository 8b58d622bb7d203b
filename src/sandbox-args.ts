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

/** Where bwrap MUST find the filter of `boxFilter`: without it there is no box. */
export const filterDescriptor = 3;

/**
 * What every box of bubblewrap begins with here: no process, no network and no name of others, no system call but those that the filter
 * lets through, nothing left of it when we are gone, and of the host's files only `/usr` without `/usr/local`. Pure.
 * @param user null: we are not root, and have a user namespace instead
 */
export function sandboxArgs(user: number | null, entries: readonly RootEntry[]): string[] {
  const alone = ['--unshare-pid', '--unshare-net', '--unshare-ipc', '--unshare-uts'];
  return [
    ...(user === null ? ['--unshare-user'] : []),
    ...[...alone, '--die-with-parent', '--new-session', '--seccomp', String(filterDescriptor)],
    ...['--ro-bind', '/usr', '/usr', '--tmpfs', '/usr/local'],
    ...entries.flatMap(({ path, linkTo }) =>
      linkTo === null ? ['--ro-bind', path, path] : ['--symlink', linkTo, path],
    ),
  ];
}
