import { createHash } from 'node:crypto';

const blockBytes = 4096;
const recordBytes = 8 + blockBytes;
const zeros = Buffer.alloc(blockBytes);
/** So many records are hashed at once: a call for each would cost more than the hash. */
const stagedRecords = 64;

/**
 * SHA-256 over an image's data alone: hashing 4 GiB of zeros takes longer than compressing 300 MiB of data. It is the same
 * whatever a file system, an archive or a copy takes for a hole, and it is as strong as one over all bytes: it covers, for each
 * block of 4 KiB that is not all zeros (the last one filled up with zeros), the block's offset as a u64 in little endian and its
 * 4096 bytes; and at the end the image's size as such a u64.
 */
export class DataDigest {
  readonly #hash = createHash('sha256');
  readonly #staged = Buffer.allocUnsafeSlow(stagedRecords * recordBytes);
  #stagedBytes = 0;
  /** A block of which only a part has come so far. */
  readonly #open = Buffer.alloc(blockBytes);
  #openAt: number | null = null;
  #position = 0;

  /** Data in rising order; what lies between is zeros. The bytes may be used again afterwards. */
  update(offset: number, bytes: Uint8Array): void {
    if (offset < this.#position) throw new Error(`data at ${offset} after data up to ${this.#position}`);
    const data = asBuffer(bytes);
    let at = 0;
    while (at < data.length) {
      const inBlock = (offset + at) % blockBytes;
      const length = Math.min(blockBytes - inBlock, data.length - at);
      const blockAt = offset + at - inBlock;
      if (this.#openAt !== null && this.#openAt !== blockAt) this.#closeOpen();
      if (length === blockBytes) this.#add(blockAt, data, at);
      else this.#addPart(blockAt, inBlock, data.subarray(at, at + length));
      at += length;
    }
    this.#position = offset + data.length;
  }

  /** In hex, of an image of this size. */
  digest(sizeBytes: number): string {
    if (this.#openAt !== null) this.#closeOpen();
    this.#hash.update(this.#staged.subarray(0, this.#stagedBytes));
    const end = Buffer.alloc(8);
    writeOffset(end, sizeBytes, 0);
    return this.#hash.update(end).digest('hex');
  }

  #addPart(blockAt: number, inBlock: number, part: Buffer): void {
    if (this.#openAt === null) {
      this.#open.fill(0);
      this.#openAt = blockAt;
    }
    part.copy(this.#open, inBlock);
  }

  #closeOpen(): void {
    if (this.#openAt !== null) this.#add(this.#openAt, this.#open, 0);
    this.#openAt = null;
  }

  #add(blockAt: number, data: Buffer, at: number): void {
    const end = at + blockBytes;
    if (data.compare(zeros, 0, blockBytes, at, end) === 0) return;
    writeOffset(this.#staged, blockAt, this.#stagedBytes);
    data.copy(this.#staged, this.#stagedBytes + 8, at, end);
    this.#stagedBytes += recordBytes;
    if (this.#stagedBytes < this.#staged.length) return;
    this.#hash.update(this.#staged);
    this.#stagedBytes = 0;
  }
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Numbers here are below 2^53; a BigInt for each block would cost more than the block. */
function writeOffset(buffer: Buffer, value: number, at: number): void {
  buffer.writeUInt32LE(value % 2 ** 32, at);
  buffer.writeUInt32LE(Math.floor(value / 2 ** 32), at + 4);
}
