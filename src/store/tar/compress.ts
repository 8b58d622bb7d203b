import { once } from 'node:events';
import { write as writeCallback } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { createGzip, gzipSync } from 'node:zlib';
import type { Compression } from '../../config/store-config.js';
import { errnoOf } from '../../errors.js';
import { storedFrame } from './stored-frame.js';
import { startZstd } from './zstd-program.js';

/** Where an archive goes: an open file or pipe, from its position on. */
export interface ArchiveTarget {
  fd: number;
  compression: Compression;
}

export interface ByteSink {
  /** What comes first, in a shape that a list can read without decompressing anything else. */
  writeHead(bytes: Buffer): Promise<void>;
  /** Takes them all before it returns. */
  write(bytes: Buffer): Promise<void>;
}

/**
 * Lets `use` write what is to be compressed; when this has returned, all of it is written to the target.
 * @throws CommandFailed (zstd), or Node's errors of writing
 */
export async function withCompressor(
  target: ArchiveTarget,
  signal: AbortSignal | undefined,
  use: (sink: ByteSink) => Promise<void>,
): Promise<void> {
  switch (target.compression) {
    case 'none':
      return use({
        writeHead: (bytes) => writeAll(target.fd, bytes),
        write: (bytes) => writeAll(target.fd, bytes),
      });
    case 'gzip':
      return throughGzip(target.fd, use);
    case 'zstd':
      return throughZstd(target.fd, signal, use);
  }
}

/** The head is a member of its own, as gzip's format allows. */
async function throughGzip(fd: number, use: (sink: ByteSink) => Promise<void>): Promise<void> {
  const gzip = createGzip();
  const writing = (async () => {
    for await (const chunk of gzip as AsyncIterable<Buffer>) await writeAll(fd, chunk);
  })();
  writing.catch((error) => gzip.destroy(error));
  try {
    await use({
      writeHead: (bytes) => writeAll(fd, gzipSync(bytes)),
      async write(bytes) {
        if (!gzip.write(bytes)) await Promise.race([once(gzip, 'drain'), writing]);
      },
    });
    gzip.end();
  } catch (error) {
    gzip.destroy();
    await writing.catch(() => undefined);
    throw error;
  }
  await writing;
}

/** zstd writes to the descriptor itself: through Node it would take twice as long. */
async function throughZstd(
  fd: number,
  signal: AbortSignal | undefined,
  use: (sink: ByteSink) => Promise<void>,
): Promise<void> {
  let zstd: Awaited<ReturnType<typeof startZstd>> | undefined;
  try {
    await use({
      writeHead: async (bytes) => {
        await writeAll(fd, storedFrame(bytes));
        // Only now: both write at the one position of the file.
        zstd = await startZstd(['-T0', '-3'], { stdin: 'pipe', stdout: fd, signal });
      },
      write: async (bytes) => zstd?.write(bytes),
    });
  } catch (error) {
    // A pipe that nobody reads any more: zstd itself knows why.
    const zstdError = errnoOf(error) === 'EPIPE' ? await zstd?.failure() : undefined;
    await zstd?.kill();
    throw zstdError ?? error;
  }
  await zstd?.finish();
}

const writeOnce = promisify(writeCallback);

async function writeAll(fd: number, bytes: Buffer): Promise<void> {
  for (let written = 0; written < bytes.length; ) {
    try {
      written += (await writeOnce(fd, bytes, written, bytes.length - written, null)).bytesWritten;
    } catch (error) {
      // A pipe that somebody has set not to block, as Node does with its standard output.
      if (errnoOf(error) !== 'EAGAIN') throw error;
      await sleep(2);
    }
  }
}
