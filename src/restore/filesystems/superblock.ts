/**
 * What lies on a disk, by its first bytes. They are the guest's, who can write there what it likes: this decides which checker
 * looks at a private copy, and nothing else.
 */
export type DiskContent =
  | { is: 'filesystem'; filesystem: Filesystem }
  | { is: 'partitions'; table: 'MBR' | 'GPT' }
  /** Nothing that we have a checker for. */
  | { is: 'other'; what: string };

export type FilesystemType = 'ext2' | 'ext3' | 'ext4' | 'xfs' | 'btrfs';

export interface Filesystem {
  type: FilesystemType;
  /** What it needs of its disk, by its own account; null where it may lie on several. */
  sizeBytes: bigint | null;
  /** Of ext2 to ext4, null of others. */
  ext: ExtState | null;
}

export interface ExtState {
  hasJournal: boolean;
  /** In use when it was captured: its journal is to be replayed. */
  needsRecovery: boolean;
  /** Files that were deleted while they were open: a mount, and a replay, would remove them. */
  hasOrphans: boolean;
  /** Unmounted, or with a journal. */
  isClean: boolean;
  /** The guest's kernel has met errors, and has noted so. */
  hasErrors: boolean;
}

/** So much of the beginning is to be read: up to the end of btrfs's superblock. */
export const headBytes = 64 * 1024 + 4096;

/** @param head the first `headBytes`, or all of a smaller disk */
export function contentOf(head: Buffer): DiskContent {
  const bytes = head.length >= headBytes ? head : Buffer.concat([head], headBytes);
  const filesystem = xfsOf(bytes) ?? extOf(bytes) ?? btrfsOf(bytes);
  if (filesystem) return { is: 'filesystem', filesystem };
  if (bytes.toString('latin1', 4086, 4096) === 'SWAPSPACE2') return { is: 'other', what: 'swap' };
  if (bytes.toString('latin1', 0, 6) === 'LUKS\xba\xbe') return { is: 'other', what: 'LUKS' };
  if (bytes.toString('latin1', 536, 544) === 'LVM2 001') return { is: 'other', what: 'LVM' };
  if (bytes.toString('latin1', 512, 520) === 'EFI PART') return { is: 'partitions', table: 'GPT' };
  if (bytes.readUInt16LE(510) === 0xaa55 && hasPartition(bytes)) return { is: 'partitions', table: 'MBR' };
  return { is: 'other', what: bytes.every((byte) => byte === 0) ? 'empty' : 'unknown' };
}

/** A boot sector without one entry is not a table. */
function hasPartition(bytes: Buffer): boolean {
  return [446, 462, 478, 494].some(
    (at) => bytes[at + 4] !== 0 && bytes.readUInt32LE(at + 12) > 0 && [0, 0x80].includes(bytes[at] ?? -1),
  );
}

function xfsOf(bytes: Buffer): Filesystem | undefined {
  if (bytes.toString('latin1', 0, 4) !== 'XFSB') return undefined;
  const sizeBytes = BigInt(bytes.readUInt32BE(4)) * bytes.readBigUInt64BE(8);
  return { type: 'xfs', sizeBytes, ext: null };
}

const superblockOfExt = 1024;
const journal = { compat: 0x4, recover: 0x4 };
/** EXTENTS, 64BIT, FLEX_BG; HUGE_FILE, GDT_CSUM, DIR_NLINK, EXTRA_ISIZE, METADATA_CSUM: ext3 has none of them. */
const ext4Features = { incompat: 0x40 | 0x80 | 0x200, readOnly: 0x8 | 0x10 | 0x20 | 0x40 | 0x400 };
const has64Bit = 0x80;
/** ORPHAN_PRESENT: they are listed in a file, which newer kernels have in the place of a chain. */
const orphanFile = 0x10000;

function extOf(bytes: Buffer): Filesystem | undefined {
  const at = (offset: number) => superblockOfExt + offset;
  if (bytes.readUInt16LE(at(0x38)) !== 0xef53) return undefined;
  const state = bytes.readUInt16LE(at(0x3a));
  const compat = bytes.readUInt32LE(at(0x5c));
  const incompat = bytes.readUInt32LE(at(0x60));
  const readOnly = bytes.readUInt32LE(at(0x64));
  const logBlock = bytes.readUInt32LE(at(0x18));
  const highBlocks = (incompat & has64Bit) !== 0 ? bytes.readUInt32LE(at(0x150)) : 0;
  const blocks = (BigInt(highBlocks) << 32n) + BigInt(bytes.readUInt32LE(at(0x4)));
  const hasJournal = (compat & journal.compat) !== 0;
  const isExt4 = (incompat & ext4Features.incompat) !== 0 || (readOnly & ext4Features.readOnly) !== 0;
  return {
    type: isExt4 ? 'ext4' : hasJournal ? 'ext3' : 'ext2',
    // A block size that there is not is the checker's to complain about.
    sizeBytes: logBlock > 6 ? null : blocks << BigInt(10 + logBlock),
    ext: {
      hasJournal,
      needsRecovery: (incompat & journal.recover) !== 0,
      hasOrphans: bytes.readUInt32LE(at(0xe8)) !== 0 || (readOnly & orphanFile) !== 0,
      isClean: (state & 1) !== 0,
      hasErrors: (state & 2) !== 0,
    },
  };
}

const superblockOfBtrfs = 64 * 1024;

function btrfsOf(bytes: Buffer): Filesystem | undefined {
  if (bytes.toString('latin1', superblockOfBtrfs + 64, superblockOfBtrfs + 72) !== '_BHRfS_M')
    return undefined;
  const isAlone = bytes.readBigUInt64LE(superblockOfBtrfs + 0x88) === 1n;
  const sizeBytes = isAlone ? bytes.readBigUInt64LE(superblockOfBtrfs + 0x70) : null;
  return { type: 'btrfs', sizeBytes, ext: null };
}
