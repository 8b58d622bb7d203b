import { errnoOf, isError, problemOf } from '../errors.js';
import { sha256OfOpenFile } from '../image/digest.js';
import { type RestoreOptions, type RestoreSource, workOn } from './restore-source.js';
import {
  backingFile,
  damaged,
  diskFile,
  requireSound,
  type StoredFile,
  withStoredFile,
} from './stored-file.js';

export type Verdict = ({ ok: true } | { ok: false; problem: string }) & {
  /** Data that was read, without holes. */
  readBytes: number;
};

/**
 * Reads the whole snapshot again and holds it against the checksums of its manifest.
 * @throws the signal's reason; the errors of a store that can't be reached, which say nothing of the snapshot
 */
export async function verifySnapshot(source: RestoreSource, options: RestoreOptions): Promise<Verdict> {
  const files = source.manifest.disks.flatMap((disk) => [
    diskFile(source, disk),
    ...(disk.backing ? [backingFile(source, disk.backing)] : []),
  ]);
  // Disks may share a backing file: it is read once.
  const distinct = new Map(files.map((stored) => [stored.file, stored]));
  let readBytes = 0;
  try {
    for (const stored of distinct.values()) readBytes += await verifyFile(stored, options);
    return { ok: true, readBytes };
  } catch (error) {
    if (isError(error, 'SnapshotDamaged')) return { ok: false, problem: error.facts.problem, readBytes };
    throw error;
  }
}

async function verifyFile(stored: StoredFile, options: RestoreOptions): Promise<number> {
  return await withStoredFile(stored, async (handle) => {
    const read = await sha256OfOpenFile(handle.fd, workOn(stored.file, options)).catch((error: unknown) => {
      throw errnoOf(error) === undefined
        ? error
        : damaged(stored, `can't be read: ${problemOf(error)}`, error);
    });
    requireSound(stored, read);
    return read.dataBytes;
  });
}
