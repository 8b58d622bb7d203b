import { createHash } from 'node:crypto';
import type { Header } from 'tar-stream';
import { problemOf, UmlsnapError } from '../../errors.js';
import type { ImagePiece } from '../../image/image-content.js';
import { requireBelievable, requireNotTooLarge } from '../largest-snapshot.js';
import { manifestName, splitSnapshotName } from '../layout.js';
import { type Manifest, parseManifest } from '../manifest.js';
import { type ArchiveFile, archiveFiles } from './archive-files.js';
import { type ArchiveInput, BadCompression, openTarBytes } from './decompress.js';
import { imagePieces } from './image-pieces.js';
import { BadSparseMap, maxRegions } from './sparse-format.js';
import { isParserError, type TarEntry, tarEntries } from './tar-entries.js';

/**
 * An image that comes out of an archive. Before the next one comes it is read to its end, or passed over unread; to stop in the
 * middle of it is to stop reading the archive.
 */
export interface ArchiveEntry {
  kind: 'disk' | 'backing';
  /** Its name in the manifest. */
  file: string;
  sizeBytes: number;
  /** As in the manifest. */
  mtime: string;
  /**
   * Data in rising order, inside the size. Whether it is what the manifest says is for whoever reads it to the end and
   * has to hash it anyway (`copyStoredFile`, `checkStoredFile`).
   * @throws SnapshotDamaged
   */
  pieces: AsyncIterable<ImagePiece>;
}

export interface OpenArchive {
  manifest: Manifest;
  /** Of the manifest's bytes in the archive. */
  manifestSha256: string;
  /** In the archive's order; when they are at their end, none of the manifest's was missing. @throws SnapshotDamaged */
  entries: AsyncIterable<ArchiveEntry>;
}

export interface ReadArchiveOptions {
  signal?: AbortSignal;
  /** How the archive is called in an error before its manifest is known: a snapshot, or a file. */
  label: string;
  /** The manifest must be this snapshot's; without it, that of any will do. */
  snapshot?: string;
  /** Of an archive from anywhere: it is left as soon as it says that it holds more. */
  largestSnapshotBytes?: number;
}

/** A manifest of 16 disks is far smaller. */
const maxManifestBytes = 1024 * 1024;
/** Headers, padding and maps of one entry: a map's line has at most 34 characters. */
const maxOverheadBytes = 34 * maxRegions + 16 * 1024 * 1024;

/** A compressor's headers, for data that it can't make smaller: less than a thousandth. */
const mostBytesOf = (tarBytes: number) => tarBytes + tarBytes / 1024;

/**
 * Lets `use` read a snapshot's archive as it comes, compressed or not: made by `writeArchive`, or by GNU tar or bsdtar from the
 * same files, the manifest first. An archive is believed in nothing: it can have no entry but the manifest's files, once each,
 * nothing larger than the manifest says, no more bytes than that takes, and no end before the last of them. Bounded memory.
 * @throws SnapshotDamaged, TooLarge, CommandFailed (zstd is needed and not there), Node's errors of reading, the signal's reason
 */
export async function readArchive<T>(
  input: ArchiveInput,
  options: ReadArchiveOptions,
  use: (archive: OpenArchive) => Promise<T>,
): Promise<T> {
  const reading = await openArchive(input, options);
  try {
    return await use(reading);
  } finally {
    await reading.close();
  }
}

/** For those whose scope is not one function's: whoever opened it closes it. @throws as `readArchive` */
export async function openArchive(
  input: ArchiveInput,
  { signal, label, snapshot, largestSnapshotBytes = Infinity }: ReadArchiveOptions,
): Promise<OpenArchive & { close(): Promise<void> }> {
  const fileBytes = input.from === 'file' ? input.sizeBytes : 0;
  // Before its manifest is known too: what no decompressor gives anything for may come first, and be a hole of the file.
  requireNotTooLarge(`${label} has`, [fileBytes], mostBytesOf(largestSnapshotBytes + maxOverheadBytes));
  const bytes = await openTarBytes(input, signal);
  const budget = new ByteBudget(maxManifestBytes + maxOverheadBytes);
  const entries = tarEntries(budget.counted(bytes.chunks, signal));
  const close = async () => {
    await entries.return(undefined);
    await bytes.close();
  };
  try {
    const text = await readManifestEntry(label, entries);
    const manifest = parseAnyManifest(text, label, snapshot);
    requireBelievable(manifest, largestSnapshotBytes);
    const files = archiveFiles(manifest);
    budget.allow(files.reduce((sum, file) => sum + file.sizeBytes + maxOverheadBytes, 0));
    if (fileBytes > mostBytesOf(budget.totalBytes)) throw new BadCompression(beyondManifest);
    const manifestSha256 = createHash('sha256').update(text).digest('hex');
    return { manifest, manifestSha256, entries: imagesOf(manifest.snapshot, files, entries), close };
  } catch (error) {
    await close();
    throw asDamage(label, error);
  }
}

const beyondManifest = 'there is more in it than its manifest speaks of';

/** No archive of good will has more bytes than this, whatever it claims to be compressed from. */
class ByteBudget {
  totalBytes: number;
  #takenBytes = 0;

  constructor(bytes: number) {
    this.totalBytes = bytes;
  }

  allow(bytes: number): void {
    this.totalBytes += bytes;
  }

  async *counted(chunks: AsyncIterable<Buffer>, signal: AbortSignal | undefined): AsyncGenerator<Buffer> {
    for await (const chunk of chunks) {
      signal?.throwIfAborted();
      this.#takenBytes += chunk.length;
      if (this.#takenBytes > this.totalBytes) throw new BadCompression(beyondManifest);
      yield chunk;
    }
  }
}

async function readManifestEntry(label: string, entries: AsyncGenerator<TarEntry>): Promise<string> {
  for (let next = await entries.next(); !next.done; next = await entries.next()) {
    const { header, body } = next.value;
    if (isOwnDirectory(header)) continue;
    const name = plainName(header.name);
    if (name !== manifestName || !isFile(header)) {
      throw damaged(
        label,
        `its first entry is ${JSON.stringify(name.slice(0, 200))} and not ${manifestName}`,
      );
    }
    if (header.size > maxManifestBytes) throw damaged(label, `its manifest has ${header.size} bytes`);
    const parts: Buffer[] = [];
    for await (const chunk of body) parts.push(chunk);
    return Buffer.concat(parts).toString('utf8');
  }
  throw damaged(label, 'it is empty');
}

/** Whose manifest it is, it says itself, unless that is known. */
function parseAnyManifest(text: string, label: string, snapshot: string | undefined): Manifest {
  const manifest = parseManifest(text, snapshot ?? claimedName(text) ?? label);
  const name = splitSnapshotName(manifest.snapshot);
  if (name === undefined || name.guest !== manifest.guest) {
    throw damaged(label, `its manifest belongs to ${manifest.snapshot} of guest ${manifest.guest}`);
  }
  return manifest;
}

function claimedName(text: string): string | undefined {
  try {
    const { snapshot } = JSON.parse(text);
    return typeof snapshot === 'string' ? snapshot : undefined;
  } catch {
    return undefined;
  }
}

async function* imagesOf(
  snapshot: string,
  files: ArchiveFile[],
  entries: AsyncGenerator<TarEntry>,
): AsyncGenerator<ArchiveEntry> {
  const missing = new Map(files.map((file) => [file.entryName, file]));
  try {
    for (let next = await entries.next(); !next.done; next = await entries.next()) {
      const { header, body } = next.value;
      if (isOwnDirectory(header)) continue;
      const name = imageName(header);
      const file = missing.get(name);
      if (file === undefined || !isFile(header)) throw damaged(snapshot, strangeEntry(name, header));
      missing.delete(name);
      const { kind, sizeBytes, mtime } = file;
      yield {
        kind,
        file: file.file,
        sizeBytes,
        mtime,
        pieces: piecesOf(snapshot, imagePieces(file, header, body)),
      };
    }
  } catch (error) {
    throw asDamage(snapshot, error);
  }
  const [first] = missing.keys();
  if (first !== undefined) throw damaged(snapshot, `${first} is missing: the archive ends before it`);
}

/** The pieces as they are; what speaks against the archive's bytes is told as damage of the snapshot. */
async function* piecesOf(snapshot: string, pieces: AsyncIterable<ImagePiece>): AsyncGenerator<ImagePiece> {
  try {
    yield* pieces;
  } catch (error) {
    throw asDamage(snapshot, error);
  }
}

function strangeEntry(name: string, { type }: Header): string {
  const shown = JSON.stringify(name.slice(0, 200));
  // What the parser has no name for is most often GNU tar's own kind of sparse file.
  if (type === null)
    return `its entry ${shown} is of an unknown kind: did GNU tar make it without --format=posix?`;
  return `its manifest doesn't know its entry ${shown} of type ${type}, or it is there twice`;
}

/** Directories that tar makes entries of, when it is given the directory that the files lie in. */
function isOwnDirectory({ type, name }: Header): boolean {
  return type === 'directory' && ['', '.', 'backing'].includes(plainName(name).replace(/\/$/, ''));
}

function isFile({ type }: Header): boolean {
  return type === 'file' || type === 'contiguous-file';
}

function imageName(header: Header): string {
  const pax = (header.pax ?? {}) as Record<string, string>;
  return plainName(pax['GNU.sparse.name'] ?? header.name);
}

/** `tar -c .` puts a `./` before each name. */
function plainName(name: string): string {
  return name.replace(/^(?:\.\/)+/, '');
}

/** What the parsers found is damage; the rest (a disk's, the program's, a signal's) is told as it is. */
function asDamage(snapshot: string, error: unknown): unknown {
  if (error instanceof BadCompression)
    return damaged(snapshot, `its compression is damaged: ${error.message}`, error);
  if (error instanceof BadSparseMap) return damaged(snapshot, error.message, error);
  return isParserError(error) ? damaged(snapshot, `it is no sound tar: ${problemOf(error)}`, error) : error;
}

function damaged(snapshot: string, problem: string, cause?: unknown): UmlsnapError<'SnapshotDamaged'> {
  return new UmlsnapError('SnapshotDamaged', { snapshot, problem }, cause);
}
