import { once } from 'node:events';
import { pack, type Pack } from 'tar-stream';
import { UmlsnapError } from '../../errors.js';
import type { ImageContent } from '../../image/image-content.js';
import type { ImageWorkOptions } from '../../image/image-work.js';
import { fileSize } from '../../image/sparse-pass.js';
import { manifestName } from '../layout.js';
import { formatManifest } from '../manifest.js';
import type { SnapshotContent } from '../store.js';
import { type ArchiveFile, archiveFiles } from './archive-files.js';
import { type ArchiveTarget, type ByteSink, withCompressor } from './compress.js';
import { checkContent } from './content-digest.js';
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
  const { takenAt, snapshot } = content.manifest;
  const header = { name: manifestName, mode: 0o600, mtime: headerTime(takenAt), size: manifest.length };
  await addEntry(archive, header, async (write) => write(manifest));
  const files = archiveFiles(content.manifest);
  const report = progressOf(files, options);
  for (const file of files) {
    await addImage(content, snapshot, file, archive, options.signal, report);
  }
  archive.finalize();
}

type Report = (bytes: number) => void;

function progressOf(files: ArchiveFile[], { onProgress }: ImageWorkOptions): (file: ArchiveFile) => Report {
  const sizeBytes = files.reduce((sum, file) => sum + file.sizeBytes, 0);
  let before = 0;
  return (file) => {
    const start = before;
    before += file.sizeBytes;
    return (bytes) => onProgress?.({ doneBytes: start + bytes, sizeBytes });
  };
}

async function addImage(
  content: SnapshotContent,
  snapshot: string,
  file: ArchiveFile,
  archive: Pack,
  signal: AbortSignal | undefined,
  reportOf: (file: ArchiveFile) => Report,
): Promise<void> {
  const report = reportOf(file);
  const layout = await withImage(content, file, (image) =>
    layoutOf(requireSize(snapshot, file, image), file.sizeBytes, signal),
  );
  const check = checkContent(file);
  try {
    await withImage(content, file, (image) =>
      addEntry(archive, imageHeader(file, layout), async (write) => {
        if (!isDense(layout)) await write(formatMap(layout));
        for await (const { offset, data } of regionBytes(image, layout)) {
          signal?.throwIfAborted();
          await check.update(offset, data);
          await write(data);
          report(offset + data.length);
        }
      }),
    );
    const problem = await check.problem();
    if (problem !== null) throw new UmlsnapError('SnapshotDamaged', { snapshot, problem });
  } finally {
    await check.end();
  }
}

async function withImage<T>(
  content: SnapshotContent,
  { kind, file }: ArchiveFile,
  use: (image: ImageContent) => Promise<T>,
): Promise<T> {
  const image = kind === 'disk' ? await content.openFile(file) : await content.openBacking(file);
  try {
    return await use(image);
  } finally {
    await image.close();
  }
}

function requireSize(snapshot: string, file: ArchiveFile, image: ImageContent): ImageContent {
  const found = image.from === 'file' ? fileSize(image.handle.fd) : file.sizeBytes;
  if (found === file.sizeBytes) return image;
  const problem = `${file.file} has ${found} bytes where the manifest says ${file.sizeBytes}`;
  throw new UmlsnapError('SnapshotDamaged', { snapshot, problem });
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
  body: (write: (bytes: Buffer) => Promise<void>) => Promise<void>,
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
