import type { FileHandle } from 'node:fs/promises';
import { UmlsnapError } from '../../errors.js';
import type { ImageContent, ImagePiece } from '../../image/image-content.js';
import { type Manifest, manifestSha256 } from '../manifest.js';
import type { SoundSnapshot } from '../stored-snapshots.js';
import { compressionOfPath } from './archive-layout.js';
import { problemByTail, readTail } from './archive-tail.js';
import { type ArchiveEntry, type OpenArchive, openArchive } from './read-archive.js';
import { asItCounts, openArchiveFile } from './stored-archives.js';

/**
 * One image of a stored archive, as a stream: what comes before it is decompressed and passed over. Meanwhile the whole archive
 * is held against its tail; the stream ends only when that is known too.
 * @throws SnapshotDamaged, CommandFailed (zstd is not there)
 */
export async function openEntry(
  stored: SoundSnapshot,
  kind: ArchiveEntry['kind'],
  name: string,
): Promise<ImageContent> {
  const { snapshot, directory: path } = stored;
  const file = await openArchiveFile(snapshot, path);
  try {
    const { size } = await file.stat();
    const archive = await openArchive(
      { from: 'file', fd: file.fd, sizeBytes: size },
      { label: snapshot, snapshot },
    );
    try {
      requireSame(stored, archive.manifest);
      const found = await entryOf(snapshot, archive, kind, name);
      return contentOf(stored, file, archive, found);
    } catch (error) {
      await archive.close();
      throw error;
    }
  } catch (error) {
    await file.close();
    throw error;
  }
}

function contentOf(
  { snapshot, directory: path }: SoundSnapshot,
  file: FileHandle,
  archive: { close(): Promise<void> },
  { pieces, others }: FoundEntry,
): ImageContent {
  const leaving = new AbortController();
  const problem = problemOfWhole(snapshot, path, leaving.signal);
  // Told at the end of the stream, or of no interest any more.
  problem.catch(() => undefined);
  async function* untilKnown(): AsyncGenerator<ImagePiece> {
    yield* pieces;
    // To the archive's end, whatever is in it: somebody else's has no tail, and may be cut short behind this image.
    for (let next = await others.next(); !next.done; next = await others.next());
    const found = await problem;
    if (found !== null) throw new UmlsnapError('SnapshotDamaged', { snapshot, problem: found });
  }
  return {
    from: 'stream',
    pieces: untilKnown(),
    async close() {
      leaving.abort();
      await problem.catch(() => undefined);
      await archive.close();
      await file.close();
    },
  };
}

/** By a descriptor of its own: zstd reads from the position of the other one, and looking for holes moves that. */
async function problemOfWhole(snapshot: string, path: string, signal: AbortSignal): Promise<string | null> {
  const file = await openArchiveFile(snapshot, path);
  try {
    return await problemByTail(file, await readTail(file, compressionOfPath(path)), { signal });
  } finally {
    await file.close();
  }
}

/** Another archive may have got the name since it was looked up. */
function requireSame({ snapshot, manifest, manifestSha256: known }: SoundSnapshot, found: Manifest): void {
  const { pinned, owner } = manifest;
  if (manifestSha256(asItCounts(found, { pinned, owner })) === known) return;
  const problem = 'its archive is another one than a moment ago';
  throw new UmlsnapError('SnapshotDamaged', { snapshot, problem });
}

interface FoundEntry {
  pieces: AsyncIterable<ImagePiece>;
  /** Those behind it. */
  others: AsyncIterator<ArchiveEntry>;
}

async function entryOf(
  snapshot: string,
  { entries }: OpenArchive,
  kind: ArchiveEntry['kind'],
  name: string,
): Promise<FoundEntry> {
  const others = entries[Symbol.asyncIterator]();
  for (let next = await others.next(); !next.done; next = await others.next()) {
    if (next.value.kind === kind && next.value.file === name) return { pieces: next.value.pieces, others };
  }
  throw new UmlsnapError('SnapshotDamaged', { snapshot, problem: `${name} is missing` });
}
