import { open } from 'node:fs/promises';
import { UmlsnapError } from '../../errors.js';
import type { ImageWorkOptions } from '../../image/image-work.js';
import { type Manifest, manifestSha256 } from '../manifest.js';
import { checkStoredFile, type StoredFile } from '../stored-file.js';
import { archiveFiles } from './archive-files.js';
import { type ArchiveEntry, readArchive } from './read-archive.js';

/**
 * Reads a whole archive and holds it against a manifest that is known otherwise: it has that manifest, and each of its files.
 * @throws SnapshotDamaged, Node's errors of reading, the signal's reason
 */
export async function checkArchive(
  path: string,
  manifest: Manifest,
  options: ImageWorkOptions,
): Promise<void> {
  const { snapshot } = manifest;
  const files = new Map(archiveFiles(manifest).map((file) => [`${file.kind} ${file.file}`, file]));
  const file = await open(path, 'r');
  try {
    const { size } = await file.stat();
    const input = { from: 'file' as const, fd: file.fd, sizeBytes: size };
    const signal = options.signal === undefined ? {} : { signal: options.signal };
    await readArchive(input, { ...signal, label: snapshot, snapshot }, async (archive) => {
      if (archive.manifestSha256 !== manifestSha256(manifest)) {
        throw new UmlsnapError('SnapshotDamaged', { snapshot, problem: 'its manifest is another one' });
      }
      for await (const entry of archive.entries) {
        const wanted = files.get(`${entry.kind} ${entry.file}`);
        if (wanted !== undefined) await checkStoredFile(asStored(snapshot, entry, wanted), options);
      }
    });
  } finally {
    await file.close();
  }
}

function asStored(
  snapshot: string,
  entry: ArchiveEntry,
  { sha256, dataSha256 }: Pick<StoredFile, 'sha256' | 'dataSha256'>,
): StoredFile {
  const { file, sizeBytes, pieces } = entry;
  const open = async () => ({ from: 'stream' as const, pieces, close: async () => {} });
  return { snapshot, file, sizeBytes, sha256, dataSha256, open };
}
