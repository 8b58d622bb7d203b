/** What a file of an ext2, ext3 or ext4 filesystem is, by its inode's own bytes (Linux, Documentation/filesystems/ext4/inodes.rst). */
export interface ExtInode {
  type: ExtFileType;
  /** The permission bits, with setuid, setgid and sticky. */
  mode: number;
  uid: number;
  gid: number;
  sizeBytes: number;
  /** Of the content's last change. */
  mtime: Date;
  /** Of a symlink that is short enough to stand in the inode itself. */
  linkTo: Buffer | null;
  /** The content stands in the inode. */
  isInline: boolean;
}

export type ExtFileType =
  | 'file'
  | 'directory'
  | 'symlink'
  | 'fifo'
  | 'socket'
  | 'charDevice'
  | 'blockDevice'
  | 'unknown';

const types: Record<number, ExtFileType> = {
  1: 'fifo',
  2: 'charDevice',
  4: 'directory',
  6: 'blockDevice',
  8: 'file',
  10: 'symlink',
  12: 'socket',
};

const smallestInode = 128;
const firstBlockPointer = 40;
const inlineLinkBytes = 60;
const inlineDataFlag = 0x1000_0000;

/** Reads an inode. Every bit of it is the guest's. Pure; undefined for what is too short to be one. */
export function parseInode(bytes: Buffer): ExtInode | undefined {
  if (bytes.length < smallestInode) return undefined;
  const mode = bytes.readUInt16LE(0);
  const type = types[mode >> 12] ?? 'unknown';
  const sizeBytes = bytes.readUInt32LE(4) + bytes.readUInt32LE(108) * 2 ** 32;
  const isInline = (bytes.readUInt32LE(32) & inlineDataFlag) !== 0;
  const isShortLink = type === 'symlink' && sizeBytes < inlineLinkBytes && !isInline;
  return {
    ...{ type, mode: mode & 0o7777, sizeBytes, isInline },
    uid: bytes.readUInt16LE(2) + bytes.readUInt16LE(120) * 65_536,
    gid: bytes.readUInt16LE(24) + bytes.readUInt16LE(122) * 65_536,
    mtime: new Date(1000 * secondsOf(bytes)),
    linkTo: isShortLink ? bytes.subarray(firstBlockPointer, firstBlockPointer + sizeBytes) : null,
  };
}

/** Signed 32 bits, and where the inode is large enough two more bits above them. */
function secondsOf(bytes: Buffer): number {
  const low = bytes.readInt32LE(16);
  const hasExtra = bytes.length >= 140 && bytes.readUInt16LE(128) >= 12;
  return hasExtra ? low + (bytes.readUInt32LE(136) & 3) * 2 ** 32 : low;
}

export interface ExtEntry {
  name: Buffer;
  inode: number;
}

/**
 * The entries of a directory by its content; the hashed kind looks the same to those who don't know of it. Names that no
 * file can have (`.`, `..`, with a slash) are left out: they would lead out of the directory. Pure.
 */
export function parseDirectory(content: Buffer): ExtEntry[] {
  const entries: ExtEntry[] = [];
  let offset = 0;
  while (offset + 8 <= content.length) {
    const inode = content.readUInt32LE(offset);
    const recordBytes = content.readUInt16LE(offset + 4);
    const nameBytes = content.readUInt8(offset + 6);
    // Of a block of 64 KiB the whole length does not fit into its 16 bits.
    const stepBytes = recordBytes === 0 || recordBytes === 0xffff ? 65_536 : recordBytes;
    if (stepBytes < 8 || stepBytes % 4 !== 0) break;
    const name = Buffer.from(content.subarray(offset + 8, offset + 8 + nameBytes));
    if (inode !== 0 && 8 + nameBytes <= stepBytes && isFileName(name)) entries.push({ name, inode });
    offset += stepBytes;
  }
  return entries;
}

function isFileName(name: Buffer): boolean {
  const text = name.toString('latin1');
  return text !== '' && text !== '.' && text !== '..' && !/[/\0]/.test(text);
}
