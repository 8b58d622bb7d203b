/**
 * Sparse files in tar archives as GNU tar's format 1.0 for PAX has them, which bsdtar understands too: the entry's data begins
 * with a map in text, filled up to a whole number of blocks, and then has the regions that the map names, without the holes.
 * Source: GNU tar's manual, "Storing Sparse Files" (PAX format, version 1.0) and `sparse.c`.
 */

export const tarBlockBytes = 512;

/** What an entry's map and realsize say. Offsets and lengths in bytes, in rising order. */
export interface SparseLayout {
  sizeBytes: number;
  regions: RegionList;
}

/**
 * More regions than this in one image are not written, and refused when read: the map is held in memory. An image of 8 GiB
 * with data in every other block of 4 KiB has half as many; beyond that, small holes become zeros.
 */
export const maxRegions = 2 ** 21;

/** Regions in flat memory: an image may have millions, and objects would take five times as much. */
export class RegionList {
  #numbers = new Float64Array(64);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** How many bytes of data they hold. */
  get dataBytes(): number {
    let sum = 0;
    for (let index = 0; index < this.#length; index++) sum += this.lengthAt(index);
    return sum;
  }

  offsetAt(index: number): number {
    return this.#numbers[2 * index] ?? 0;
  }

  lengthAt(index: number): number {
    return this.#numbers[2 * index + 1] ?? 0;
  }

  endAt(index: number): number {
    return this.offsetAt(index) + this.lengthAt(index);
  }

  push(offset: number, length: number): void {
    if (2 * this.#length === this.#numbers.length) {
      const larger = new Float64Array(2 * this.#numbers.length);
      larger.set(this.#numbers);
      this.#numbers = larger;
    }
    this.#numbers[2 * this.#length] = offset;
    this.#numbers[2 * this.#length + 1] = length;
    this.#length++;
  }

  /**
   * Adds data that lies behind all that is there, in whole blocks of the archive: GNU tar fills up the last block of each
   * region, and libarchive doesn't. What touches the last region lengthens it.
   */
  extend(offset: number, length: number, sizeBytes: number): void {
    const start = offset - (offset % tarBlockBytes);
    const end = Math.min(roundUp(offset + length), sizeBytes);
    const last = this.#length - 1;
    if (last >= 0 && start <= this.endAt(last)) {
      this.#numbers[2 * last + 1] = Math.max(end, this.endAt(last)) - this.offsetAt(last);
    } else if (end > start) {
      this.push(start, end - start);
    }
  }

  /** The same with the smallest holes taken as data, until there are no more than `most`. */
  coarsened(most: number): RegionList {
    let coarse: RegionList = this;
    for (let hole = tarBlockBytes; coarse.length > most; hole *= 2) {
      const next = new RegionList();
      for (let index = 0; index < coarse.length; index++) {
        const offset = coarse.offsetAt(index);
        const last = next.length - 1;
        const near = last >= 0 && offset - next.endAt(last) <= hole;
        const end = coarse.endAt(index);
        if (near) next.#numbers[2 * last + 1] = end - next.offsetAt(last);
        else next.push(offset, end - offset);
      }
      coarse = next;
    }
    return coarse;
  }
}

export function roundUp(bytes: number): number {
  return Math.ceil(bytes / tarBlockBytes) * tarBlockBytes;
}

/** True when there is no hole in it, so that an ordinary entry says the same. */
export function isDense({ sizeBytes, regions }: SparseLayout): boolean {
  return regions.dataBytes === sizeBytes;
}

/** The map as it stands at the head of an entry's data. Where the file ends in a hole, an empty region marks its end. */
export function formatMap({ sizeBytes, regions }: SparseLayout): Buffer {
  const endsInHole = regions.length === 0 || regions.endAt(regions.length - 1) < sizeBytes;
  const parts: string[] = [`${regions.length + (endsInHole ? 1 : 0)}\n`];
  for (let index = 0; index < regions.length; index++) {
    parts.push(`${regions.offsetAt(index)}\n${regions.lengthAt(index)}\n`);
  }
  if (endsInHole) parts.push(`${sizeBytes}\n0\n`);
  const text = parts.join('');
  const map = Buffer.alloc(roundUp(text.length));
  map.write(text, 'latin1');
  return map;
}

export function sparsePax(name: string, sizeBytes: number): Record<string, string> {
  return {
    'GNU.sparse.major': '1',
    'GNU.sparse.minor': '0',
    'GNU.sparse.name': name,
    'GNU.sparse.realsize': String(sizeBytes),
  };
}

/** A map that no program of good will has written. The text says what is wrong, for people. */
export class BadSparseMap extends Error {}

/**
 * Reads a map piece by piece, and believes nothing: numbers are short and decimal, regions rise, lie inside the size and hold
 * whole blocks, and there are no more than `maxRegions`.
 */
export class MapReader {
  readonly #regions = new RegionList();
  readonly #sizeBytes: number;
  /** How many regions the map says it has; null before it has said so. */
  #announced: number | null = null;
  #seen = 0;
  #offset: number | null = null;
  #digits = '';
  #bytes = 0;

  constructor(sizeBytes: number) {
    this.#sizeBytes = sizeBytes;
  }

  /** Takes what belongs to the map, its padding included; the rest is the first data. @throws BadSparseMap */
  take(bytes: Buffer): { layout: SparseLayout | null; rest: Buffer } {
    let at = 0;
    while (at < bytes.length && !this.#isComplete()) this.#takeByte(bytes[at++] ?? 0);
    if (!this.#isComplete()) {
      this.#bytes += at;
      return { layout: null, rest: bytes.subarray(at) };
    }
    // The padding may lie in the next piece.
    const padding = Math.min(roundUp(this.#bytes + at) - this.#bytes - at, bytes.length - at);
    this.#bytes += at + padding;
    const isWhole = this.#bytes % tarBlockBytes === 0;
    const layout = isWhole ? { sizeBytes: this.#sizeBytes, regions: this.#regions } : null;
    return { layout, rest: bytes.subarray(at + padding) };
  }

  #isComplete(): boolean {
    return this.#announced !== null && this.#seen === this.#announced;
  }

  #takeByte(byte: number): void {
    if (byte >= 0x30 && byte <= 0x39 && this.#digits.length < 16) {
      this.#digits += String.fromCharCode(byte);
    } else if (byte === 0x0a && this.#digits !== '') {
      this.#takeNumber(Number(this.#digits));
      this.#digits = '';
    } else {
      throw new BadSparseMap('its map is not made of numbers');
    }
  }

  #takeNumber(value: number): void {
    if (this.#announced === null) {
      if (value > maxRegions) throw new BadSparseMap(`its map has ${value} regions`);
      this.#announced = value;
    } else if (this.#offset === null) {
      this.#offset = value;
    } else {
      addRegion(this.#regions, this.#offset, value, this.#sizeBytes);
      this.#offset = null;
      this.#seen++;
    }
  }
}

/** The map of format 0.1, which stands in the header: `offset,length,offset,length`. @throws BadSparseMap */
export function parseHeaderMap(text: string, sizeBytes: number): SparseLayout {
  const numbers = text.split(',');
  if (numbers.length % 2 !== 0 || numbers.length / 2 > maxRegions) {
    throw new BadSparseMap('its map is not made of pairs');
  }
  const regions = new RegionList();
  for (let index = 0; index < numbers.length; index += 2) {
    const [offset, length] = [decimal(numbers[index]), decimal(numbers[index + 1])];
    if (offset === null || length === null) throw new BadSparseMap('its map is not made of numbers');
    addRegion(regions, offset, length, sizeBytes);
  }
  return { sizeBytes, regions };
}

/** A size in decimal, below 2^53; null for anything else. */
export function decimal(text: string | undefined): number | null {
  if (text === undefined || !/^\d{1,16}$/.test(text)) return null;
  const value = Number(text);
  return Number.isSafeInteger(value) ? value : null;
}

function addRegion(regions: RegionList, offset: number, length: number, sizeBytes: number): void {
  const last = regions.length - 1;
  const previousEnd = last < 0 ? 0 : regions.endAt(last);
  if (offset < previousEnd || offset + length > sizeBytes) {
    throw new BadSparseMap(`its map has a region at ${offset} that does not follow, or leads beyond its end`);
  }
  // Marks the end of a file that ends in a hole.
  if (length === 0) return;
  if (length % tarBlockBytes !== 0 && offset + length !== sizeBytes) {
    throw new BadSparseMap(
      `its map has a region at ${offset} of ${length} bytes, which are not whole blocks`,
    );
  }
  regions.push(offset, length);
}
