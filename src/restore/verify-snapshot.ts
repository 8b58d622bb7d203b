import { isError } from '../errors.js';
import { backingFile, checkStoredFile, diskFile } from '../store/stored-file.js';
import { type RestoreOptions, type RestoreSource, workOn } from './restore-source.js';

export type Verdict = { ok: true } | { ok: false; problem: string };

/**
 * Reads the whole snapshot again and holds it against the checksums of its manifest.
 * @throws the signal's reason; the errors of a store that can't be reached, which say nothing of the snapshot
 */
export async function verifySnapshot(
  source: RestoreSource,
  signal: AbortSignal,
  onProgress?: RestoreOptions['onProgress'],
): Promise<Verdict> {
  const options = { signal, ...(onProgress ? { onProgress } : {}) };
  const files = source.manifest.disks.flatMap((disk) => [
    diskFile(source, disk),
    ...(disk.backing ? [backingFile(source, disk.backing)] : []),
  ]);
  // Disks may share a backing file: it is read once.
  const distinct = new Map(files.map((stored) => [stored.file, stored]));
  try {
    for (const stored of distinct.values()) await checkStoredFile(stored, workOn(stored.file, options));
    return { ok: true };
  } catch (error) {
    if (isError(error, 'SnapshotDamaged')) return { ok: false, problem: error.facts.problem };
    throw error;
  }
}
