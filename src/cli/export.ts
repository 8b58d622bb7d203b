import { fstatSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { isatty } from 'node:tty';
import { copyDeps } from '../compose.js';
import type { Compression } from '../config/store-config.js';
import { findCopy, readingCopy } from '../copies/find-copy.js';
import { recordedRows, restoreSourceOf, whileReading } from '../copies/find-snapshot.js';
import { errnoOf, problemOf, UmlsnapError } from '../errors.js';
import { type ExitCode, exitCodes } from '../exit-codes.js';
import type { ImageProgress } from '../image/image-work.js';
import { warn } from '../output.js';
import { withStartedHistoryIfAny } from '../start.js';
import { writeArchive } from '../store/tar/write-archive.js';
import { type Context, configOf } from './context.js';
import { copyLine } from './copies.js';
import { withInterrupt } from './interrupt.js';
import { ProgressLine } from './progress-line.js';

const compressions: readonly Compression[] = ['zstd', 'gzip', 'none'];

/** `umlsnap export NAME > FILE`: a snapshot as one archive on stdout, for `umlsnap import` and for plain tar. */
export async function exportVerb(
  context: Context,
  name: string,
  options: { compression?: string; store?: string },
): Promise<ExitCode> {
  const compression = compressions.find((known) => known === (options.compression ?? 'zstd'));
  if (compression === undefined) {
    throw new UmlsnapError('Usage', {
      problem: `--compression ${options.compression}: choose one of ${compressions.join(', ')}.`,
    });
  }
  if (isatty(1)) {
    throw new UmlsnapError('Usage', {
      problem:
        'export writes an archive to its standard output: send that to a file or a program, not to a terminal.',
    });
  }
  const config = await configOf(context);
  return await withInterrupt((signal) =>
    withStartedHistoryIfAny(config, async (history) => {
      const deps = copyDeps(config, history);
      const found = await findCopy(deps, { name, store: options.store });
      if (!context.output.quiet) warn(copyLine(found));
      const source = restoreSourceOf(found, await recordedRows(history, found.stored.guest));
      // Standard output is the archive's: nothing else goes there, whatever was asked for.
      const line = new ProgressLine({ ...context.output, json: false });
      const { guest } = found.stored;
      const onProgress = ({ doneBytes, sizeBytes }: ImageProgress) =>
        line.show({ guest, phase: 'export', doneBytes, totalBytes: sizeBytes });
      await withOutput(async (fd) => {
        const work = { signal, onProgress };
        const written = () => writeArchive(source, { fd, compression }, work);
        await readingCopy(deps, found, () => whileReading(found, written)).catch((error: unknown) => {
          signal.throwIfAborted();
          if (errnoOf(error) === undefined) throw error;
          const { snapshot } = source.manifest;
          throw new UmlsnapError('ExportFailed', { snapshot, problem: problemOf(error) }, error);
        });
      });
      return exitCodes.done;
    }),
  );
}

/**
 * Standard output as a program that we start can write to it: Node sets a pipe not to block, and that is seen by everybody who
 * has the same one. A pipe that is opened once more is one of our own; a file is written at the position that it has.
 */
async function withOutput(use: (fd: number) => Promise<void>): Promise<void> {
  if (!fstatSync(1).isFIFO()) return await use(1);
  const pipe = await open('/proc/self/fd/1', 'w');
  try {
    await use(pipe.fd);
  } finally {
    await pipe.close();
  }
}
