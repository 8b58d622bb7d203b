import { open } from 'node:fs/promises';
import type { Compression } from '../../config/store-config.js';
import { isError, UmlsnapError } from '../../errors.js';
import type { ImageWorkOptions } from '../../image/image-work.js';
import { type Manifest, manifestSha256 } from '../manifest.js';
import { checkStoredFile, type StoredFile } from '../stored-file.js';
import { archiveFiles } from './archive-files.js';
import type { ArchiveInput } from './decompress.js';
import { type ArchiveEntry, type OpenArchive, openArchive, readArchive } from './read-archive.js';
import { startZstd } from './zstd-program.js';

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
  const signal = options.signal === undefined ? {} : { signal: options.signal };
  await withInput(path, (input) =>
    readArchive(input, { ...signal, label: snapshot, snapshot }, async (archive) => {
      requireManifest(archive, manifest);
      for await (const entry of archive.entries) {
        const wanted = files.get(`${entry.kind} ${entry.file}`);
        if (wanted !== undefined) await checkStoredFile(asStored(snapshot, entry, wanted), options);
      }
    }),
  );
}

/**
 * Reads an archive again that was just written, each byte of which was held against its manifest before it went to the compressor.
 * Where that was zstd, zstd itself decompresses it and holds it against the checksum that it had taken of its input: to hash
 * all of it once more would take longer than to write it, and could tell no more than that zstd got what we had hashed.
 * From the page cache, mostly: that the disk has it, is fsync's word.
 * @throws SnapshotDamaged, CommandFailed, Node's errors of reading, the signal's reason
 */
export async function checkWritten(
  path: string,
  compression: Compression,
  manifest: Manifest,
  options: ImageWorkOptions,
): Promise<void> {
  if (compression !== 'zstd') return checkArchive(path, manifest, options);
  const { signal } = options;
  const { snapshot } = manifest;
  await withInput(path, async (input) => {
    const archive = await openArchive(input, { label: snapshot, snapshot, ...(signal && { signal }) });
    await archive.close();
    requireManifest(archive, manifest);
  });
  await withInput(path, async ({ fd }) => {
    const zstd = await startZstd(['-t'], { stdin: fd, stdout: 'pipe', signal });
    await zstd.finish().catch((error: unknown) => {
      if (!isError(error, 'CommandFailed') || error.facts.exitCode === null) throw error;
      throw new UmlsnapError('SnapshotDamaged', { snapshot, problem: error.facts.problem }, error);
    });
  });
}

type FileInput = Extract<ArchiveInput, { from: 'file' }>;

/** A descriptor of its own, at the file's beginning: zstd reads from its position. */
async function withInput<T>(path: string, use: (input: FileInput) => Promise<T>): Promise<T> {
  const file = await open(path, 'r');
  try {
    return await use({ from: 'file', fd: file.fd, sizeBytes: (await file.stat()).size });
  } finally {
    await file.close();
  }
}

function requireManifest(archive: OpenArchive, manifest: Manifest): void {
  if (archive.manifestSha256 === manifestSha256(manifest)) return;
  const problem = 'its manifest is another one';
  throw new UmlsnapError('SnapshotDamaged', { snapshot: manifest.snapshot, problem });
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
