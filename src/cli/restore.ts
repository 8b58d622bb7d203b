import { resolve } from 'node:path';
import { type RestoreTarget, restore } from '../../jobs/restore.js';
import { copyDeps } from '../compose.js';
import { followPath } from '../config/follow-links.js';
import { findCopy } from '../copies/find-copy.js';
import { recordedRows, restoreSourceOf, whileReading } from '../copies/find-snapshot.js';
import { UmlsnapError } from '../errors.js';
import type { ExitCode } from '../exit-codes.js';
import { reportSummary, tell } from '../output.js';
import type { RestoredDisk } from '../restore/restore-source.js';
import { withStartedHistoryIfAny } from '../start.js';
import { type Context, configOf, guestOf } from './context.js';
import { copyLine } from './copies.js';
import { restoreFilesTo } from './files.js';
import { withInterrupt } from './interrupt.js';
import { ProgressLine } from './progress-line.js';

export interface RestoreOptions {
  to?: string;
  inPlace?: boolean;
  keepReplaced?: boolean;
  merge?: boolean;
  path?: string;
  disk?: string;
  store?: string;
}

/** `umlsnap restore NAME --to DIR` or `--in-place`. Works without a history: snapshots lie in their stores. */
export async function restoreVerb(
  context: Context,
  name: string,
  options: RestoreOptions,
): Promise<ExitCode> {
  if ((options.to === undefined) === !options.inPlace) {
    throw new UmlsnapError('Usage', { problem: 'restore needs either --to DIR or --in-place.' });
  }
  const { path, disk: device = 'ubd0', merge = false, store } = options;
  if (merge && (options.to === undefined || path !== undefined)) {
    const problem =
      path === undefined
        ? '--merge makes raw images, and --in-place puts back the disks that the guest has: restore with --merge --to DIR, and boot the guest from there.'
        : '--path looks into the disk as its guest saw it: leave out --merge.';
    throw new UmlsnapError('Usage', { problem });
  }
  if (options.disk !== undefined && path === undefined)
    throw new UmlsnapError('Usage', { problem: '--disk goes with --path: disks are restored all together.' });
  const to = options.to === undefined ? undefined : await followPath(resolve(options.to));
  if (path !== undefined) {
    if (to === undefined) throw new UmlsnapError('Usage', { problem: '--path needs --to DIR.' });
    return await restoreFilesTo(context, { name, store, path, device, directory: to });
  }
  const config = await configOf(context);
  return await withInterrupt((signal) =>
    withStartedHistoryIfAny(config, async (history) => {
      const deps = copyDeps(config, history);
      const found = await findCopy(deps, { name, store });
      tell(context.output, copyLine(found));
      const source = restoreSourceOf(found, await recordedRows(history, found.stored.guest));
      const target: RestoreTarget =
        to === undefined
          ? {
              to: 'place',
              config: guestOf(config, found.stored.guest),
              keepReplaced: options.keepReplaced ?? false,
            }
          : { to: 'directory', directory: to, merge };
      const { guest } = found.stored;
      const line = new ProgressLine(context.output);
      const onProgress = (done: { doneBytes: number; totalBytes: number }) =>
        line.show({ ...{ type: 'progress', kind: 'restore' }, guest, phase: 'restore', ...done });
      const order = { found, deps, source, target, stateDirectory: config.state, signal, onProgress };
      const summary = await whileReading(found, () => restore(order, history));
      if (!summary.error)
        for (const disk of summary.disks as RestoredDisk[]) tell(context.output, describe(disk));
      return reportSummary(context.output, summary);
    }),
  );
}

function describe(disk: RestoredDisk): string {
  const replaced = disk.replacedPath === null ? '' : `; the replaced one is kept as ${disk.replacedPath}`;
  const merged = disk.merged ? ' (raw, merged from a COW file and its backing file)' : '';
  if (!disk.backing) return `${disk.path}${merged}${replaced}\n  boot it with ${disk.device}d=${disk.path}`;
  return `${disk.path}${replaced}\n  backing file ${disk.backing.path} (${disk.backing.state})\n  boot it with ${disk.device}=${disk.path},${disk.backing.path}`;
}
