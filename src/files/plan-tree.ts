import type { ExtImage } from './ext-image.js';
import type { ExtInode } from './ext-inode.js';
import { type FoundFile, shown } from './find-file.js';

/** Something that is to be made on the host. */
export interface TreeItem {
  /** Below the directory that all of it is made in; every part is a name that an image's directory may have. */
  path: Buffer;
  number: number;
  inode: ExtInode;
}

export interface Tree {
  directories: TreeItem[];
  files: TreeItem[];
  symlinks: TreeItem[];
  /** What is not brought back, and why: `3 devices`. */
  leftOut: string[];
}

/** More, and it is a bomb. */
const maxItems = 2_000_000;
/** The host's own limit, with room for the directory that it is made in. */
const maxPathBytes = 3000;

/**
 * Looks at a file or a whole directory tree, level by level. A directory that stands in a tree twice, as in no sound filesystem,
 * is taken once.
 */
export async function planTree(image: ExtImage, top: FoundFile): Promise<Tree> {
  const tree: Tree = { directories: [], files: [], symlinks: [], leftOut: [] };
  const skipped = new Map<string, number>();
  const seen = new Set<number>();
  const skip = (what: string) => skipped.set(what, (skipped.get(what) ?? 0) + 1);
  let level = take(tree, [{ path: top.name, number: top.number, inode: top.inode }], seen, skip);
  while (level.length > 0) {
    const listings = await image.entries(level.map(({ number }) => number));
    const items: TreeItem[] = [];
    for (const [index, entries] of listings.entries()) {
      const parent = level[index];
      if (parent === undefined) continue;
      if (!entries) skip("directories that can't be read");
      for (const { name, inode: number, found } of entries ?? []) {
        const path = Buffer.concat([parent.path, Buffer.from('/'), name]);
        if (!found) skip("files that can't be read");
        else if (path.length > maxPathBytes) skip('files whose path is too long');
        else items.push({ path, number, inode: found });
      }
    }
    level = take(tree, items, seen, skip);
  }
  tree.leftOut = [...skipped].map(([what, count]) => `${count} ${what}`);
  return tree;
}

/** @returns the directories among them, to be looked into */
function take(tree: Tree, items: TreeItem[], seen: Set<number>, skip: (what: string) => void): TreeItem[] {
  const below: TreeItem[] = [];
  for (const item of items) {
    const { type, isInline } = item.inode;
    if (tree.directories.length + tree.files.length + tree.symlinks.length >= maxItems)
      skip('files beyond the limit');
    else if (isInline && type !== 'file') skip('files of an unknown kind');
    else if (type === 'directory') {
      if (seen.has(item.number)) skip('directories that hold themselves');
      else {
        seen.add(item.number);
        tree.directories.push(item);
        below.push(item);
      }
    } else if (type === 'file') tree.files.push(item);
    else if (type === 'symlink') tree.symlinks.push(item);
    else if (type === 'unknown') skip('files of an unknown kind');
    else skip(type === 'fifo' || type === 'socket' ? 'FIFOs and sockets' : 'devices');
  }
  return below;
}

export const nameOf = ({ path }: TreeItem): string => shown(path);
