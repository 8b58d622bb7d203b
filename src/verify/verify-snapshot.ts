import { isError } from '../errors.js';
import { type RestoreOptions, type RestoreSource, workOn } from '../restore/restore-source.js';
import { backingFile, checkStoredFile, diskFile, type StoredFile } from '../store/stored-file.js';

export type Verdict = ({ ok: true } | { ok: false; problem: string }) & {
  /** Data that was read, without holes. */
  readBytes: number;
};

export interface VerifyOptions extends RestoreOptions {
  /**
   * Backing files of the store that were read in this run and are sound, by name and content: they are not read for each snapshot again, and
   * those that this one adds are noted. Only of a store in which snapshots share them.
   */
  soundBackings?: Set<string>;
}

/**
 * Reads the whole snapshot again and holds it against the checksums of its manifest.
 * @throws the signal's reason; the errors of a store that can't be reached, which say nothing of the snapshot
 */
export async function verifySnapshot(source: RestoreSource, options: VerifyOptions): Promise<Verdict> {
  const { soundBackings = new Set() } = options;
  const disks = source.manifest.disks.map((disk) => diskFile(source, disk));
  const backings = source.manifest.disks.flatMap((disk) =>
    disk.backing ? [backingFile(source, disk.backing)] : [],
  );
  let readBytes = 0;
  const read = async (stored: StoredFile) => {
    readBytes += (await checkStoredFile(stored, workOn(stored.file, options))).dataBytes;
  };
  try {
    for (const stored of disks) await read(stored);
    for (const stored of backings) {
      // Disks may share one, of one snapshot too.
      const known = `${stored.file} ${stored.sha256} ${stored.sizeBytes}`;
      if (soundBackings.has(known)) continue;
      await read(stored);
      soundBackings.add(known);
    }
    return { ok: true, readBytes };
  } catch (error) {
    if (isError(error, 'SnapshotDamaged')) return { ok: false, problem: error.facts.problem, readBytes };
    throw error;
  }
}
