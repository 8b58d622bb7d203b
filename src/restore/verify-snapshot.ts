import { isError } from '../errors.js';
import { backingFile, checkStoredFile, diskFile } from '../store/stored-file.js';
import { type RestoreOptions, type RestoreSource, workOn } from './restore-source.js';

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
    for (const stored of distinct.values()) {
      readBytes += (await checkStoredFile(stored, workOn(stored.file, options))).dataBytes;
    }
    return { ok: true, readBytes };
  } catch (error) {
    if (isError(error, 'SnapshotDamaged')) return { ok: false, problem: error.facts.problem, readBytes };
    throw error;
  }
}
