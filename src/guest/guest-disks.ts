import type { FileHandle } from 'node:fs/promises';
import { stat } from 'node:fs/promises';
import type { DiskConfig } from '../config/config.js';
import { errnoOf, UmlsnapError } from '../errors.js';
import { printableLine } from '../mconsole/printable.js';
import type { ProcessIdentity } from '../process-identity.js';
import { type FileIdentity, resolveAsGuest } from './guest-processes.js';

/** A disk as the config has it, opened by us, held against what the guest says of it. */
export interface DiskClaim {
  guest: string;
  disk: DiskConfig;
  /** What `config ubdN` answered; untrusted. */
  reported: string;
  /** Our own open files: the image or COW file, and the backing file of a COW disk. */
  file: FileIdentity;
  backing?: FileIdentity;
}

/**
 * Checks that the guest's disk is the file that the config names. The guest's word is only compared, never followed:
 * its paths are looked up and must lead to the inode that the config's path was opened as.
 * @throws DiskMismatch
 */
export async function checkDiskClaim(main: ProcessIdentity, claim: DiskClaim): Promise<void> {
  const mismatch = (problem: string) =>
    new UmlsnapError('DiskMismatch', {
      guest: claim.guest,
      device: claim.disk.device,
      configured: [claim.disk.path, claim.disk.backing].filter(Boolean).join(','),
      reported: printableLine(claim.reported),
      problem,
    });
  if (claim.reported === '') throw mismatch('the guest has no such disk');
  const [path = '', backing, ...rest] = claim.reported.split(',');
  if (rest.length > 0) throw mismatch('the guest names more than two files');
  if (claim.backing && backing === undefined)
    throw mismatch('the guest uses it as a raw disk, without a backing file');
  if (!claim.backing && backing !== undefined)
    throw mismatch('the guest uses it as a COW file with a backing file');
  if (!(await leadsTo(main, path, claim.file))) throw mismatch('the two are different files');
  if (claim.backing && backing !== undefined && !(await leadsTo(main, backing, claim.backing))) {
    throw mismatch('the two have different backing files');
  }
}

async function leadsTo(main: ProcessIdentity, path: string, file: FileIdentity): Promise<boolean> {
  // No file has such a name, and Node takes it for a mistake of ours.
  if (path.includes('\0')) return false;
  try {
    const found = await stat(await resolveAsGuest(main, path));
    return found.dev === file.dev && found.ino === file.ino;
  } catch (error) {
    if (errnoOf(error) !== undefined) return false;
    throw error;
  }
}

/** Big-endian magic and version at the head of every COW file, uml-facts §5. */
const cowMagic = 0x4f4f4f4d;

/** True when the file begins as a COW file of a version that UML still opens (2 or 3). */
export async function hasCowHeader(file: FileHandle): Promise<boolean> {
  const head = Buffer.alloc(8);
  const { bytesRead } = await file.read(head, 0, head.length, 0);
  return (
    bytesRead === head.length && head.readUInt32BE(0) === cowMagic && [2, 3].includes(head.readUInt32BE(4))
  );
}
