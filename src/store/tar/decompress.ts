import { read as readCallback } from 'node:fs';
import { promisify } from 'node:util';
import { createGunzip, type Gunzip } from 'node:zlib';
import type { Compression } from '../../config/store-config.js';
import { errnoOf, isError, problemOf } from '../../errors.js';
import { type RunningZstd, startZstd } from './zstd-program.js';

/**
 * Where an archive comes from: a file that can be read anywhere, opened for this reading alone, since its position is used; or
 * bytes as they come, from a pipe.
 */
export type ArchiveInput =
  | { from: 'file'; fd: number; sizeBytes: number }
  | { from: 'stream'; bytes: AsyncIterable<Uint8Array> };

/** The bytes of a tar, for one reading. Whoever opened it closes it, also in the middle. */
export interface TarBytes {
  chunks: AsyncIterable<Buffer>;
  close(): Promise<void>;
}

/** What was compressed is not what comes out. The text says why, for people. */
export class BadCompression extends Error {}

const magicBytes = 6;
const chunkBytes = 64 * 1024;
const readOnce = promisify(readCallback);

/** Decompresses what is compressed, as its first bytes say. @throws CommandFailed when zstd is needed and not there */
export async function openTarBytes(input: ArchiveInput, signal: AbortSignal | undefined): Promise<TarBytes> {
  if (input.from === 'file') {
    const magic = Buffer.alloc(magicBytes);
    const { bytesRead } = await readOnce(input.fd, magic, 0, magicBytes, 0);
    const compression = compressionOf(magic.subarray(0, bytesRead));
    if (compression === 'zstd')
      return fromZstd(await startZstd(['-d'], { stdin: input.fd, stdout: 'pipe', signal }));
    const bytes = fileBytes(input.fd, input.sizeBytes);
    // Waited for: the descriptor may be closed, and its number another file's, right after.
    return open(compression, { bytes, leave: async () => void (await bytes.return(undefined)) }, signal);
  }
  const { magic, all } = await peek(input.bytes);
  // Not waited for: nobody knows when a pipe says something again.
  const leave = async () => void all.return(undefined).catch(() => undefined);
  return open(compressionOf(magic), { bytes: all, leave }, signal);
}

interface Compressed {
  bytes: AsyncGenerator<Buffer>;
  leave(): Promise<void>;
}

/** By the magic numbers of RFC 8878 (also of a skippable frame) and RFC 1952. */
export function compressionOf(magic: Uint8Array): Compression {
  const [a = 0, b, c, d] = magic;
  if (a === 0x28 && b === 0xb5 && c === 0x2f && d === 0xfd) return 'zstd';
  if ((a & 0xf0) === 0x50 && b === 0x2a && c === 0x4d && d === 0x18) return 'zstd';
  return a === 0x1f && b === 0x8b ? 'gzip' : 'none';
}

async function open(
  compression: Compression,
  input: Compressed,
  signal: AbortSignal | undefined,
): Promise<TarBytes> {
  switch (compression) {
    case 'none':
      return { chunks: input.bytes, close: input.leave };
    case 'gzip':
      return fromGzip(input);
    case 'zstd':
      return fromZstd(await startZstd(['-d'], { stdin: 'pipe', stdout: 'pipe', signal }), input);
  }
}

/** Without an input, zstd reads a descriptor by itself. */
function fromZstd(zstd: RunningZstd, input?: Compressed): TarBytes {
  let isClosed = false;
  const feeding = input === undefined ? Promise.resolve() : feedZstd(zstd, input.bytes);
  // Told at the end of the output, or of no interest any more.
  feeding.catch(() => undefined);
  async function* chunks(): AsyncGenerator<Buffer> {
    yield* zstd.output;
    if (isClosed) return;
    await feeding;
    await zstd.finish().catch((error: unknown) => {
      throw isError(error, 'CommandFailed') && error.facts.exitCode !== null
        ? new BadCompression(error.facts.problem)
        : error;
    });
  }
  return {
    chunks: chunks(),
    async close() {
      isClosed = true;
      await zstd.kill();
      await input?.leave();
    },
  };
}

/** What zstd does not take any more is its own to explain, by how it ends. */
async function feedZstd(zstd: RunningZstd, bytes: AsyncGenerator<Buffer>): Promise<void> {
  try {
    for await (const chunk of bytes) await zstd.write(chunk);
  } catch (error) {
    if (errnoOf(error) !== 'EPIPE' && errnoOf(error) !== 'ECONNRESET') {
      await zstd.kill();
      throw error;
    }
  }
  zstd.endInput();
}

function fromGzip({ bytes, leave }: Compressed): TarBytes {
  const gunzip = createGunzip();
  let readFailure: unknown;
  feedGunzip(gunzip, bytes).catch((error: unknown) => {
    readFailure = error;
    gunzip.destroy();
  });
  async function* chunks(): AsyncGenerator<Buffer> {
    try {
      yield* gunzip as AsyncIterable<Buffer>;
    } catch (error) {
      throw readFailure ?? new BadCompression(problemOf(error));
    }
  }
  return {
    chunks: chunks(),
    async close() {
      gunzip.destroy();
      await leave();
    },
  };
}

async function feedGunzip(gunzip: Gunzip, bytes: AsyncGenerator<Buffer>): Promise<void> {
  const gone = new Promise<void>((resolve) => gunzip.once('close', () => resolve()));
  for await (const chunk of bytes) {
    if (gunzip.destroyed) return;
    if (!gunzip.write(chunk)) {
      await Promise.race([new Promise<void>((resolve) => gunzip.once('drain', () => resolve())), gone]);
    }
  }
  gunzip.end();
}

async function* fileBytes(fd: number, sizeBytes: number): AsyncGenerator<Buffer> {
  for (let position = 0; position < sizeBytes; ) {
    const chunk = Buffer.allocUnsafeSlow(chunkBytes);
    const { bytesRead } = await readOnce(fd, chunk, 0, Math.min(chunkBytes, sizeBytes - position), position);
    if (bytesRead === 0) return;
    yield chunk.subarray(0, bytesRead);
    position += bytesRead;
  }
}

/** The first bytes, and all of them again. */
async function peek(
  bytes: AsyncIterable<Uint8Array>,
): Promise<{ magic: Buffer; all: AsyncGenerator<Buffer> }> {
  const iterator = bytes[Symbol.asyncIterator]();
  const first: Buffer[] = [];
  let length = 0;
  while (length < magicBytes) {
    const { done, value } = await iterator.next();
    if (done) break;
    first.push(asBuffer(value));
    length += value.length;
  }
  async function* all(): AsyncGenerator<Buffer> {
    try {
      yield* first;
      for (let next = await iterator.next(); !next.done; next = await iterator.next()) {
        yield asBuffer(next.value);
      }
    } finally {
      await iterator.return?.();
    }
  }
  return { magic: Buffer.concat(first), all: all() };
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
