/**
 * A zstd frame that holds its content as it is (RFC 8878: a single segment of raw blocks), so that the head of an archive can be
 * read by ourselves, without starting a program for each of a thousand archives. To zstd it is a frame like any other, and
 * frames may follow one another.
 */

const magic = 0xfd2fb528;
/** Content size in 4 bytes, single segment, no checksum, no dictionary. */
const descriptor = 0xa0;
const headerBytes = 9;
const maxBlockBytes = 128 * 1024;

export function storedFrame(content: Buffer): Buffer {
  const header = Buffer.alloc(headerBytes);
  header.writeUInt32LE(magic, 0);
  header.writeUInt8(descriptor, 4);
  header.writeUInt32LE(content.length, 5);
  const parts: Buffer[] = [header];
  for (let at = 0; at < content.length; at += maxBlockBytes) {
    const block = content.subarray(at, at + maxBlockBytes);
    const isLast = at + maxBlockBytes >= content.length;
    const blockHeader = Buffer.alloc(3);
    blockHeader.writeUIntLE((block.length << 3) | (isLast ? 1 : 0), 0, 3);
    parts.push(blockHeader, block);
  }
  return Buffer.concat(parts);
}

/** How long such a frame is, by its own word; null when these bytes begin with another kind of frame, or none. */
export function storedFrameBytes(bytes: Buffer): number | null {
  if (bytes.length < headerBytes || bytes.readUInt32LE(0) !== magic || bytes[4] !== descriptor) return null;
  const contentBytes = bytes.readUInt32LE(5);
  return headerBytes + contentBytes + 3 * Math.max(1, Math.ceil(contentBytes / maxBlockBytes));
}

/** The content of such a frame at the beginning of these bytes, as far as they go; null when that is another kind of frame. */
export function readStoredFrame(bytes: Buffer): Buffer | null {
  if (bytes.length < headerBytes || bytes.readUInt32LE(0) !== magic || bytes[4] !== descriptor) return null;
  const blocks: Buffer[] = [];
  for (let at = headerBytes; at + 3 <= bytes.length; ) {
    const blockHeader = bytes.readUIntLE(at, 3);
    const length = blockHeader >> 3;
    if ((blockHeader & 6) !== 0 || length > maxBlockBytes) return null;
    blocks.push(bytes.subarray(at + 3, at + 3 + length));
    at += 3 + length;
    if ((blockHeader & 1) !== 0) break;
  }
  return Buffer.concat(blocks);
}
