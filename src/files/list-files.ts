import type { ExtImage } from './ext-image.js';
import type { ExtInode } from './ext-inode.js';
import { type FoundFile, shown } from './find-file.js';

/** A line of a long listing. */
export interface ListedFile {
  name: string;
  /** Where the name is not UTF-8, or holds what must not meet a terminal: its bytes, in base64. */
  nameBase64?: string;
  type: ExtInode['type'];
  /** `0644` */
  mode: string;
  uid: number;
  gid: number;
  sizeBytes: number;
  /** ISO 8601. */
  mtime: string;
  linkTo: string | null;
}

/** What a directory holds, by name; of anything else, itself. What can't be read is counted. */
export async function listFiles(
  image: ExtImage,
  found: FoundFile,
): Promise<{ files: ListedFile[]; unreadable: number }> {
  if (found.inode.type !== 'directory') return { files: [await listed(image, found)], unreadable: 0 };
  const [entries] = await image.entries([found.number]);
  if (!entries) return { files: [], unreadable: 1 };
  const files: ListedFile[] = [];
  let unreadable = 0;
  for (const { name, inode: number, found: inode } of [...entries].sort((a, b) => a.name.compare(b.name))) {
    if (inode === undefined) unreadable += 1;
    else files.push(await listed(image, { name, number, inode }));
  }
  return { files, unreadable };
}

async function listed(image: ExtImage, { name, number, inode }: FoundFile): Promise<ListedFile> {
  const target = inode.type === 'symlink' ? await image.linkTarget(number, inode) : undefined;
  const text = shown(name);
  const { type, uid, gid, sizeBytes, mtime } = inode;
  return {
    name: text,
    ...(Buffer.from(text).equals(name) ? {} : { nameBase64: name.toString('base64') }),
    ...{ type, mode: inode.mode.toString(8).padStart(4, '0'), uid, gid, sizeBytes },
    mtime: mtime.toISOString(),
    linkTo: target === undefined ? null : shown(target),
  };
}
