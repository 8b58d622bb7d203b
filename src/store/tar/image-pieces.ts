import type { Header } from 'tar-stream';
import type { ImagePiece } from '../../image/image-content.js';
import type { ArchiveFile } from './archive-files.js';
import {
  BadSparseMap,
  decimal,
  MapReader,
  maxRegions,
  parseHeaderMap,
  roundUp,
  type SparseLayout,
} from './sparse-format.js';

/**
 * The data of an image, in rising order, from the body of its entry: dense, or sparse in GNU tar's formats 1.0 and 0.1 for PAX
 * (bsdtar's is 1.0). 0.0 repeats its keys, of which the parser keeps the last one only; GNU tar has not written it since 2007.
 * @throws BadSparseMap
 */
export async function* imagePieces(
  file: ArchiveFile,
  header: Header,
  body: AsyncIterable<Buffer>,
): AsyncGenerator<ImagePiece> {
  const pax = (header.pax ?? {}) as Record<string, string>;
  const sparse = sparseKind(pax);
  const realSize =
    sparse === 'dense' ? header.size : decimal(pax['GNU.sparse.realsize'] ?? pax['GNU.sparse.size']);
  if (realSize !== file.sizeBytes) {
    throw new BadSparseMap(
      `${file.entryName} has ${realSize} bytes where the manifest says ${file.sizeBytes}`,
    );
  }
  switch (sparse) {
    case 'dense':
      yield* densePieces(body);
      return;
    case 'mapInHeader':
      yield* sparsePieces(parseHeaderMap(pax['GNU.sparse.map'] ?? '', file.sizeBytes), header.size, body);
      return;
    case 'mapInData':
      yield* mappedPieces(file.sizeBytes, header.size, body);
  }
}

function sparseKind(pax: Record<string, string>): 'dense' | 'mapInHeader' | 'mapInData' {
  if (pax['GNU.sparse.major'] === '1' && pax['GNU.sparse.minor'] === '0') return 'mapInData';
  if (pax['GNU.sparse.map'] !== undefined) return 'mapInHeader';
  const other = Object.keys(pax).find((key) => key.startsWith('GNU.sparse.'));
  if (other === undefined) return 'dense';
  throw new BadSparseMap('its sparse entries are of a format other than 1.0 and 0.1');
}

async function* densePieces(body: AsyncIterable<Buffer>): AsyncGenerator<ImagePiece> {
  let offset = 0;
  for await (const data of body) {
    yield { offset, data };
    offset += data.length;
  }
}

async function* mappedPieces(
  sizeBytes: number,
  entryBytes: number,
  body: AsyncIterable<Buffer>,
): AsyncGenerator<ImagePiece> {
  if (entryBytes > sizeBytes + roundUp(34 * maxRegions)) {
    throw new BadSparseMap(`its entry has ${entryBytes} bytes, more than its image`);
  }
  const reader = new MapReader(sizeBytes);
  let cursor: RegionCursor | null = null;
  let mapBytes = 0;
  for await (const chunk of body) {
    if (cursor !== null) {
      yield* cursor.place(chunk);
      continue;
    }
    const { layout, rest } = reader.take(chunk);
    mapBytes += chunk.length - rest.length;
    if (layout === null) continue;
    cursor = new RegionCursor(layout, entryBytes - mapBytes);
    yield* cursor.place(rest);
  }
  if (cursor === null) throw new BadSparseMap('its entry ends within the map');
}

async function* sparsePieces(
  layout: SparseLayout,
  dataBytes: number,
  body: AsyncIterable<Buffer>,
): AsyncGenerator<ImagePiece> {
  const cursor = new RegionCursor(layout, dataBytes);
  for await (const chunk of body) yield* cursor.place(chunk);
}

/** Gives each byte of an entry its place in the image. */
class RegionCursor {
  readonly #layout: SparseLayout;
  #index = 0;
  #inRegion = 0;

  /** @throws BadSparseMap unless the entry has exactly the bytes that its map speaks of */
  constructor(layout: SparseLayout, dataBytes: number) {
    this.#layout = layout;
    const wanted = layout.regions.dataBytes;
    if (wanted !== dataBytes) {
      throw new BadSparseMap(`its entry has ${dataBytes} bytes of data where its map says ${wanted}`);
    }
  }

  *place(chunk: Buffer): Generator<ImagePiece> {
    const { regions } = this.#layout;
    for (let at = 0; at < chunk.length && this.#index < regions.length; ) {
      const length = Math.min(regions.lengthAt(this.#index) - this.#inRegion, chunk.length - at);
      yield { offset: regions.offsetAt(this.#index) + this.#inRegion, data: chunk.subarray(at, at + length) };
      at += length;
      this.#inRegion += length;
      if (this.#inRegion < regions.lengthAt(this.#index)) return;
      this.#index++;
      this.#inRegion = 0;
    }
  }
}
