import { once } from 'node:events';
import { type Pack, pack } from 'tar-stream';
import { UmlsnapError } from '../../errors.js';
import type { ImageContent, ImagePiece } from '../../image/image-content.js';
import type { ImageWorkOptions } from '../../image/image-work.js';
import { fileSize } from '../../image/sparse-pass.js';
import { manifestName } from '../layout.js';
import { formatManifest } from '../manifest.js';
import type { SnapshotContent } from '../store.js';
import { checkStoredFile, type StoredFile, unreadable, withStoredFile } from '../stored-file.js';
import { type ArchiveFile, archiveFiles } from './archive-files.js';
import { type ArchiveTarget, type ByteSink, withCompressor } from './compress.js';
import { layoutOf, regionBytes } from './image-layout.js';
import { formatMap, isDense, roundUp, type SparseLayout, sparsePax, tarBlockBytes } from './sparse-format.js';

/** Keeps an octal field of 11 digits, and tar-stream's own 32 bits; the exact time stands beside it, in PAX. */
const maxHeaderSeconds = 2 ** 31 - 1;

/**
 * Writes a snapshot as one archive, from the target's file position on: the manifest, each disk, each backing file; images as
 * sparse entries. Everything is held against the manifest while it passes by. Nothing is made durable, and after an error
 * what was written is good for nothing: both are the caller's. Bounded memory, whatever the images.
 * @throws SnapshotDamaged (the source is), CommandFailed (zstd), Node's errors of reading and writing, the signal's reason
 */
export async function writeArchive(
  content: SnapshotContent,
  target: ArchiveTarget,
  options: ImageWorkOptions = {},
): Promise<void> {
  const archive = pack();
  const manifest = Buffer.from(formatManifest(content.manifest));
  const headBytes = tarBlockBytes + roundUp(manifest.length);
  const producing = produce(content, manifest, archive, options).catch((error: unknown) => {
    archive.destroy(new GivenUp());
    throw error;
  });
  const consuming = withCompressor(target, options.signal, (sink) => drain(archive, headBytes, sink));
  const [produced, consumed] = await Promise.allSettled([producing, consuming]);
  // A side that fails ends the other one: what is told is what came first.
  for (const { reason } of [produced, consumed].filter((side) => side.status === 'rejected')) {
    if (!(reason instanceof GivenUp)) throw reason;
  }
}

/** What one side of an archive ends with when the other side has failed. */
class GivenUp extends Error {}

/** The manifest's entry comes first and goes out by itself, so that a list can read it without the compressor. */
async function drain(archive: Pack, headBytes: number, sink: ByteSink): Promise<void> {
  const head: Buffer[] = [];
  let missing = headBytes;
  for await (const chunk of archive as AsyncIterable<Buffer>) {
    if (missing === 0) {
      await sink.write(chunk);
      continue;
    }
    head.push(chunk);
    missing -= chunk.length;
    if (missing === 0) await sink.writeHead(Buffer.concat(head));
  }
}

async function produce(
  content: SnapshotContent,
  manifest: Buffer,
  archive: Pack,
  options: ImageWorkOptions,
): Promise<void> {
  const { takenAt } = content.manifest;
  const header = { name: manifestName, mode: 0o600, mtime: headerTime(takenAt), size: manifest.length };
  await addEntry(archive, header, async (write) => write(manifest));
  for (const file of archiveFiles(content.manifest)) await addImage(content, file, archive, options);
  archive.finalize();
}

async function addImage(
  content: SnapshotContent,
  file: ArchiveFile,
  archive: Pack,
  options: ImageWorkOptions,
): Promise<void> {
  const stored = storedFile(content, file);
  const layout = await withStoredFile(stored, (image) => {
    requireSize(stored, image);
    return layoutOf(image, file.sizeBytes, options.signal).catch((error: unknown) => {
      throw unreadable(stored, error);
    });
  });
  await addEntry(archive, imageHeader(file, layout), async (write) => {
    if (!isDense(layout)) await write(formatMap(layout));
    // One read for both: what goes into the archive is what is hashed, in a thread beside the compressor.
    const open = async () => passingOn(await stored.open(), layout, write);
    await checkStoredFile({ ...stored, open }, options);
  });
}

function storedFile(
  content: SnapshotContent,
  { kind, file, sizeBytes, sha256, dataSha256 }: ArchiveFile,
): StoredFile {
  const open = () => (kind === 'disk' ? content.openFile(file) : content.openBacking(file));
  return { snapshot: content.manifest.snapshot, file, sizeBytes, sha256, dataSha256, open };
}

function requireSize({ snapshot, file, sizeBytes }: StoredFile, image: ImageContent): void {
  const found = image.from === 'file' ? fileSize(image.handle.fd) : sizeBytes;
  if (found === sizeBytes) return;
  const problem = `${file} has ${found} bytes where the manifest says ${sizeBytes}`;
  throw new UmlsnapError('SnapshotDamaged', { snapshot, problem });
}

type Write = (bytes: Buffer) => Promise<void>;

/** The image once more, each piece written before whoever reads gets it. */
function passingOn(image: ImageContent, layout: SparseLayout, write: Write): ImageContent {
  async function* pieces(): AsyncGenerator<ImagePiece> {
    for await (const piece of regionBytes(image, layout)) {
      await write(piece.data);
      yield piece;
    }
  }
  return { from: 'stream', pieces: pieces(), close: () => image.close() };
}

function imageHeader(file: ArchiveFile, layout: SparseLayout): EntryHeader {
  const pax = { mtime: paxTime(file.mtime) };
  const common = { mode: 0o600, mtime: headerTime(file.mtime) };
  if (isDense(layout)) return { ...common, name: file.entryName, size: file.sizeBytes, pax };
  // The name that a program sees which knows nothing of sparse entries: what it unpacks is no image.
  const name = `GNUSparseFile.0/${file.entryName}`;
  const size = formatMap(layout).length + layout.regions.dataBytes;
  return { ...common, name, size, pax: { ...sparsePax(file.entryName, file.sizeBytes), ...pax } };
}

interface EntryHeader {
  name: string;
  mode: number;
  mtime: Date;
  size: number;
  pax?: Record<string, string>;
}

function headerTime(iso: string): Date {
  const seconds = Math.floor(Date.parse(iso) / 1000);
  return new Date(Math.min(Math.max(seconds, 0), maxHeaderSeconds) * 1000);
}

/** UML compares a backing file's mtime in whole seconds (uml-facts §5); this keeps the milliseconds that we know. */
function paxTime(iso: string): string {
  return (Date.parse(iso) / 1000).toFixed(3);
}

/** One entry; `write` waits until the archive can take more. A body that is not as long as the header says is an error. */
async function addEntry(
  archive: Pack,
  header: EntryHeader,
  body: (write: Write) => Promise<void>,
): Promise<void> {
  if (archive.destroying) throw new GivenUp();
  const entry = archive.entry(header);
  // Whatever becomes of it: how it ended, the archive's own state says.
  const closed = once(entry, 'close').catch(() => undefined);
  const requireGoingOn = () => {
    if (archive.destroying) throw new GivenUp();
  };
  await body(async (bytes) => {
    requireGoingOn();
    if (!entry.write(bytes)) await Promise.race([once(entry, 'drain').catch(() => undefined), closed]);
  });
  requireGoingOn();
  entry.end(undefined);
  await closed;
  requireGoingOn();
}
