import { UmlsnapError } from '../errors.js';
import { printableLine } from '../mconsole/printable.js';
import { type ExtImage, rootInode } from './ext-image.js';
import type { ExtFileType, ExtInode } from './ext-inode.js';

export interface FoundFile {
  /** Its own, `/` for the root. */
  name: Buffer;
  number: number;
  inode: ExtInode;
}

/** As many as Linux follows. */
const maxLinks = 40;

/**
 * Finds a file by its path in the image. Links on the way are followed within the image, as a guest that runs would; one at the end of
 * the path is what is found.
 * @throws NoSuchFile with what is wrong
 */
export async function findFile(
  image: ExtImage,
  path: string,
  named: { snapshot: string; device: string },
): Promise<FoundFile> {
  const refuse = (problem: string) =>
    new UmlsnapError('NoSuchFile', { ...{ snapshot: named.snapshot, disk: named.device, path }, problem });
  const [rootOfImage] = await image.inodes([rootInode]);
  if (rootOfImage?.type !== 'directory') throw refuse("its root directory can't be read");
  const root: FoundFile = { name: Buffer.from('/'), number: rootInode, inode: rootOfImage };
  let way = [root];
  const wanted = partsOf(Buffer.from(path));
  for (let links = 0; ; ) {
    const part = wanted.shift();
    const here = way.at(-1) ?? root;
    if (part === undefined) return here;
    if (isText(part, '..')) {
      if (way.length > 1) way.pop();
      continue;
    }
    if (here.inode.type !== 'directory') throw refuse(`${shown(here.name)} is ${typeText[here.inode.type]}`);
    const [entries] = await image.entries([here.number]);
    if (!entries) throw refuse(`${shown(here.name)} can't be read`);
    const entry = entries.find(({ name }) => name.equals(part));
    if (!entry) throw refuse(`there is no ${shown(part)} in ${shown(here.name)}`);
    if (!entry.found) throw refuse(`${shown(part)} can't be read`);
    if (entry.found.type !== 'symlink' || wanted.length === 0) {
      way.push({ name: part, number: entry.inode, inode: entry.found });
      continue;
    }
    links += 1;
    const target = links > maxLinks ? undefined : await image.linkTarget(entry.inode, entry.found);
    if (!target) throw refuse(`the link ${shown(part)} can't be followed`);
    if (target[0] === 0x2f) way = [root];
    wanted.unshift(...partsOf(target));
  }
}

const typeText: Record<ExtFileType, string> = {
  file: 'a file',
  directory: 'a directory',
  symlink: 'a symbolic link',
  fifo: 'a FIFO',
  socket: 'a socket',
  charDevice: 'a device',
  blockDevice: 'a device',
  unknown: 'of an unknown type',
};

function partsOf(path: Buffer): Buffer[] {
  const parts: Buffer[] = [];
  for (let from = 0; from <= path.length; ) {
    const slash = path.indexOf(0x2f, from);
    const end = slash === -1 ? path.length : slash;
    const part = path.subarray(from, end);
    if (part.length > 0 && !isText(part, '.')) parts.push(part);
    from = end + 1;
  }
  return parts;
}

const isText = (part: Buffer, text: string) => part.equals(Buffer.from(text));

/** A name of the guest's for people; bytes that are no text are shown as what they are. */
export function shown(name: Buffer): string {
  return printableLine(name.toString('utf8'));
}
