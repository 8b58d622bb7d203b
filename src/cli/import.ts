import { type FileHandle, open } from 'node:fs/promises';
import { resolve } from 'node:path';
import { importArchive } from '../../jobs/import-archive.js';
import { importStore } from '../compose.js';
import { problemOf, UmlsnapError } from '../errors.js';
import type { ExitCode } from '../exit-codes.js';
import { reportSummary, tell } from '../output.js';
import { withStartedApp } from '../start.js';
import type { ArchiveInput } from '../store/tar/decompress.js';
import { type Context, configOf } from './context.js';
import { withInterrupt } from './interrupt.js';

/** `umlsnap import [FILE]`: takes a snapshot out of an archive, from a file or from stdin, into a directory store. */
export async function importVerb(
  context: Context,
  file: string | undefined,
  options: { store?: string },
): Promise<ExitCode> {
  const config = await configOf(context);
  const store = importStore(config, options.store);
  return await withInterrupt((signal) =>
    withStartedApp(config, ({ history, stateDirectory }) =>
      withInput(file, async (input, label) => {
        const summary = await importArchive({ input, label, store, stateDirectory, signal }, history);
        if (!summary.error) tell(context.output, `${summary.snapshot} is in store ${store.name}.`);
        return reportSummary(context.output, summary);
      }),
    ),
  );
}

async function withInput<T>(
  file: string | undefined,
  use: (input: ArchiveInput, label: string) => Promise<T>,
): Promise<T> {
  if (file === undefined || file === '-') {
    if (process.stdin.isTTY)
      throw new UmlsnapError('Usage', {
        problem: 'import needs a file, or an archive on its standard input.',
      });
    return await use({ from: 'stream', bytes: process.stdin }, 'standard input');
  }
  const path = resolve(file);
  const handle = await open(path, 'r').catch((error: unknown) => {
    throw new UmlsnapError('ImportFailed', { file: path, problem: problemOf(error) }, error);
  });
  try {
    return await use(await inputOf(handle), path);
  } finally {
    await handle.close();
  }
}

/** What is no plain file, such as a pipe with a name, can be read only as it comes. */
async function inputOf(handle: FileHandle): Promise<ArchiveInput> {
  const found = await handle.stat();
  if (found.isFile()) return { from: 'file', fd: handle.fd, sizeBytes: found.size };
  return { from: 'stream', bytes: handle.createReadStream({ autoClose: false }) };
}
