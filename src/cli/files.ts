import { filesPlaces, restoreFiles } from '../../jobs/restore-files.js';
import { copyDeps } from '../compose.js';
import type { Config } from '../config/config.js';
import { findCopy, readingCopy } from '../copies/find-copy.js';
import { recordedRows, restoreSourceOf, whileReading } from '../copies/find-snapshot.js';
import { countText } from '../error-text.js';
import type { UmlsnapError } from '../errors.js';
import { type ExitCode, exitCodes } from '../exit-codes.js';
import { findFile } from '../files/find-file.js';
import { type ListedFile, listFiles } from '../files/list-files.js';
import { withExtImage } from '../files/with-ext-image.js';
import type { SqliteHistory } from '../history/sqlite-history.js';
import { printRows, reportSummary, tell, warn } from '../output.js';
import { withStartedHistoryIfAny } from '../start.js';
import { type Context, configOf } from './context.js';
import { copyLine } from './copies.js';
import { formatTime } from './format.js';
import { withInterrupt } from './interrupt.js';

/** `umlsnap files NAME [PATH]`: what a directory of a disk of a snapshot holds. */
export async function filesVerb(
  context: Context,
  name: string,
  path: string,
  options: { disk?: string; store?: string },
): Promise<ExitCode> {
  const config = await configOf(context);
  const device = options.disk ?? 'ubd0';
  return await withInterrupt((signal) =>
    withStartedHistoryIfAny(config, async (history) => {
      const request = { name, store: options.store, device };
      const { found, deps, source, files } = await filesOf(config, history, request, signal);
      // Beside the list, which may be for another program.
      if (!context.output.quiet) warn(copyLine(found));
      const look = () =>
        withExtImage(source, files, async ({ image, warnings }) => {
          const { snapshot } = source.manifest;
          const listing = await listFiles(image, await findFile(image, path, { snapshot, device }));
          printFiles(context, listing.files);
          if (listing.unreadable > 0) warnings.push(`${countText(listing.unreadable, 'file')} can't be read`);
          for (const warning of warnings) warn(`warning: ${warning}`);
          return warnings.length > 0 ? exitCodes.warnings : exitCodes.done;
        });
      return await readingCopy(deps, found, () => whileReading(found, look));
    }),
  );
}

/** `umlsnap restore NAME --path PATH --to DIR`. */
export async function restoreFilesTo(
  context: Context,
  { path, directory, ...request }: FilesRequest & { path: string; directory: string },
): Promise<ExitCode> {
  const config = await configOf(context);
  return await withInterrupt((signal) =>
    withStartedHistoryIfAny(config, async (history) => {
      const { found, deps, source, files } = await filesOf(config, history, request, signal);
      tell(context.output, copyLine(found));
      const order = { found, deps, source, path, directory, files };
      const summary = await whileReading(found, () => restoreFiles(order, history));
      const restored = summary.restored as { path: string } | undefined;
      if (restored) tell(context.output, restored.path);
      return reportSummary(context.output, summary);
    }),
  );
}

interface FilesRequest {
  name: string;
  store: string | undefined;
  device: string;
}

async function filesOf(
  config: Config,
  history: SqliteHistory | UmlsnapError,
  { name, store, device }: FilesRequest,
  signal: AbortSignal,
) {
  const deps = copyDeps(config, history);
  const found = await findCopy(deps, { name, store });
  const source = restoreSourceOf(found, await recordedRows(history, found.stored.guest));
  const places = filesPlaces(found.store, config);
  return { found, deps, source, files: { device, places, user: config.drill.user, signal } };
}

const letters: Record<ListedFile['type'], string> = {
  ...{ file: '-', directory: 'd', symlink: 'l', fifo: 'p', socket: 's' },
  ...{ charDevice: 'c', blockDevice: 'b', unknown: '?' },
};

function printFiles({ output }: Context, files: ListedFile[]): void {
  if (files.length === 0) return;
  printRows(output, files, {
    mode: ({ type, mode }) => `${letters[type]}${permissions(Number.parseInt(mode, 8))}`,
    owner: ({ uid, gid }) => `${uid}:${gid}`,
    size: ({ sizeBytes }) => String(sizeBytes),
    'changed (local time)': ({ mtime }) => formatTime(mtime),
    name: ({ name, linkTo }) => (linkTo === null ? name : `${name} -> ${linkTo}`),
  });
}

/** As ls(1) writes them. */
export function permissions(mode: number): string {
  const triple = (shift: number, special: number, letter: string) => {
    const bits = (mode >> shift) & 7;
    const run = (bits & 1) !== 0;
    const last = (mode & special) === 0 ? (run ? 'x' : '-') : run ? letter : letter.toUpperCase();
    return `${bits & 4 ? 'r' : '-'}${bits & 2 ? 'w' : '-'}${last}`;
  };
  return triple(6, 0o4000, 's') + triple(3, 0o2000, 's') + triple(0, 0o1000, 't');
}
