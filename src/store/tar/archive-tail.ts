import type { FileHandle } from 'node:fs/promises';
import type { Compression } from '../../config/store-config.js';
import { runImageWork } from '../../image/image-thread.js';
import type { ImageWorkOptions } from '../../image/image-work.js';
import { tarBlockBytes } from './sparse-format.js';

/**
 * The end of an archive in a store has the SHA-256 of all bytes before it. The manifest's digests find whatever changes an
 * image, but zstd, gzip and tar have bits that change nothing (in headers, in padding): a medium that has lost one of those will
 * lose others. To zstd it is a skippable frame, to gzip an empty member with a comment, to tar a global header with a comment, so
 * that no program minds.
 */

const label = 'umlsnap-archive-sha256=';
const noSha256 = '0'.repeat(64);
/** What ends a tar. */
const endOfTar = Buffer.alloc(2 * tarBlockBytes);
/** So many bytes of a tail may be wrong, and it is still one that is damaged, and not the end of somebody else's archive. */
const maxWrongBytes = 8;

/** The tail's digest; null for an archive that has none, since somebody else made it. */
export type Tail = { sha256: string; coveredBytes: number } | { isDamaged: true } | null;

/** Reads a whole archive for the tail that it is to get. @throws Node's I/O errors, the signal's reason */
export async function digestForTail(
  file: FileHandle,
  compression: Compression,
  options: ImageWorkOptions,
): Promise<{ sha256: string; coveredBytes: number }> {
  const { size } = await file.stat();
  const coveredBytes = compression === 'none' ? size - endOfTar.length : size;
  return { sha256: await sha256OfFirst(file, coveredBytes, options), coveredBytes };
}

/** A tar's tail goes before the blocks of zeros that end it. Nothing is made durable. @throws Node's I/O errors */
export async function appendTail(
  file: FileHandle,
  compression: Compression,
  { sha256, coveredBytes }: { sha256: string; coveredBytes: number },
): Promise<void> {
  const tail = formatTail(compression, sha256);
  for (let written = 0; written < tail.length; ) {
    const rest = tail.subarray(written);
    written += (await file.write(rest, 0, rest.length, coveredBytes + written)).bytesWritten;
  }
}

export async function readTail(file: FileHandle, compression: Compression): Promise<Tail> {
  const template = formatTail(compression, noSha256);
  const { size } = await file.stat();
  const coveredBytes = size - template.length;
  if (coveredBytes < 0) return null;
  const end = Buffer.alloc(template.length);
  await file.read(end, 0, end.length, coveredBytes);
  const hexAt = template.indexOf(label) + label.length;
  const sha256 = end.toString('latin1', hexAt, hexAt + noSha256.length);
  if (wrongBytes(end, template, hexAt) > maxWrongBytes) return null;
  return formatTail(compression, sha256).equals(end) && /^[0-9a-f]{64}$/.test(sha256)
    ? { sha256, coveredBytes }
    : { isDamaged: true };
}

/** Reads all that the tail covers. @returns what is wrong, for people; null when nothing is, or nothing can be said */
export async function problemByTail(
  file: FileHandle,
  tail: Tail,
  options: ImageWorkOptions,
): Promise<string | null> {
  if (tail === null) return null;
  if ('isDamaged' in tail) return 'the end of its archive is damaged';
  const found = await sha256OfFirst(file, tail.coveredBytes, options);
  return found === tail.sha256 ? null : 'its archive is not as it was written';
}

async function sha256OfFirst(file: FileHandle, bytes: number, options: ImageWorkOptions): Promise<string> {
  const work = { kind: 'digest', fd: file.fd, digest: 'whole', firstBytes: bytes } as const;
  return (await runImageWork(work, options)).sha256 ?? '';
}

/** Beside the digest, where any byte is possible; and beside a tar's checksum, which goes with it. */
function wrongBytes(end: Buffer, template: Buffer, hexAt: number): number {
  let wrong = 0;
  for (let at = 0; at < template.length; at++) {
    const isDigest = at >= hexAt && at < hexAt + noSha256.length;
    if (!isDigest && end[at] !== template[at]) wrong++;
  }
  return wrong;
}

function formatTail(compression: Compression, sha256: string): Buffer {
  const text = Buffer.from(`${label}${sha256}`, 'latin1');
  switch (compression) {
    case 'zstd':
      return skippableFrame(text);
    case 'gzip':
      return emptyMember(text);
    case 'none':
      return Buffer.concat([globalHeader(text), endOfTar]);
  }
}

/** RFC 8878, 3.1.2. */
function skippableFrame(text: Buffer): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt32LE(0x184d2a50, 0);
  header.writeUInt32LE(text.length, 4);
  return Buffer.concat([header, text]);
}

/** RFC 1952: a header with a comment, an empty block of deflate, and the checksum and length of nothing. */
function emptyMember(text: Buffer): Buffer {
  const header = Buffer.from([0x1f, 0x8b, 8, 0x10, 0, 0, 0, 0, 0, 0xff]);
  return Buffer.concat([header, text, Buffer.from([0, 3, 0]), Buffer.alloc(8)]);
}

/** A global header of PAX (POSIX.1-2001), with a comment as its one record. */
function globalHeader(text: Buffer): Buffer {
  // The length of a record counts itself.
  const record = Buffer.from(`${text.length + 13} comment=${text.toString('latin1')}\n`, 'latin1');
  const header = Buffer.alloc(tarBlockBytes);
  header.write('umlsnap-archive-sha256', 0, 'latin1');
  header.write('0000600\0', 100, 'latin1');
  header.write('0000000\0', 108, 'latin1');
  header.write('0000000\0', 116, 'latin1');
  header.write(`${record.length.toString(8).padStart(11, '0')}\0`, 124, 'latin1');
  header.write('00000000000\0', 136, 'latin1');
  header.write('        g', 148, 'latin1');
  header.write('ustar\x0000', 257, 'latin1');
  const checksum = header.reduce((sum, byte) => sum + byte, 0);
  header.write(`${checksum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  const data = Buffer.alloc(tarBlockBytes);
  record.copy(data);
  return Buffer.concat([header, data]);
}
