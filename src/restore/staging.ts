import type { FileHandle } from 'node:fs/promises';
import { errnoOf, problemOf, UmlsnapError } from '../errors.js';
import { isPathError, pathOf, PathRefused, type Place } from '../path/held-directory.js';
import { copyStoredFile, type StoredFile, withStoredFile } from '../store/stored-file.js';
import { type RestoreOptions, workOn } from './restore-source.js';
import { removeLeftovers, temporaryName } from './temporary-name.js';

export interface StagedFile {
  place: Place;
  /** Under which its content lies in the place's directory, whole, checked and durable. */
  temporaryName: string;
  identity: { dev: bigint; ino: bigint };
  dataBytes: number;
}

export interface StagedLook {
  mode: number;
  owner?: { uid: number; gid: number };
  /** UML compares a backing file's with the one in the COW header, in whole seconds (uml-facts §5). */
  mtime?: Date;
}

export interface Staging {
  /**
   * Writes the stored file beside its place. Nothing that is there is touched.
   * @throws SnapshotDamaged, RestoreFailed, or the signal's reason
   */
  stage(stored: StoredFile, place: Place, look: StagedLook): Promise<StagedFile>;
}

/** Runs a restore's work; what was staged and not renamed to its place is gone afterwards, unless we are killed. */
export async function withStaging<T>(
  options: RestoreOptions,
  use: (staging: Staging) => Promise<T>,
): Promise<T> {
  const temporaries: Place[] = [];
  try {
    return await use({
      async stage(stored, place, look) {
        await removeLeftovers(place);
        const temporary = { directory: place.directory, name: temporaryName(place.name) };
        temporaries.push(temporary);
        const staged = await stageFile(stored, place, temporary, look, options);
        return { place, temporaryName: temporary.name, ...staged };
      },
    });
  } finally {
    for (const { directory, name } of temporaries) await directory.unlink(name);
  }
}

async function stageFile(
  stored: StoredFile,
  place: Place,
  temporary: Place,
  look: StagedLook,
  options: RestoreOptions,
): Promise<Pick<StagedFile, 'identity' | 'dataBytes'>> {
  const onTarget = <T>(work: () => Promise<T>) => about(stored.snapshot, pathOf(place), work);
  return withStoredFile(stored, async (source) => {
    const target = await onTarget(() => temporary.directory.create(temporary.name));
    try {
      const { dataBytes } = await onTarget(() =>
        copyStoredFile(stored, source, target.fd, workOn(stored.file, options)),
      );
      await onTarget(() => finish(target, look));
      const { dev, ino } = await target.stat({ bigint: true });
      return { identity: { dev, ino }, dataBytes };
    } finally {
      await target.close();
    }
  });
}

/** fsync MUST come last: the owner and the times are to be as durable as the content. */
async function finish(target: FileHandle, look: StagedLook): Promise<void> {
  if (look.owner) await target.chown(look.owner.uid, look.owner.gid);
  // After chown, which clears bits of the mode.
  await target.chmod(look.mode);
  if (look.mtime) await target.utimes(look.mtime, look.mtime);
  await target.sync();
}

/** Whoever may write to the directory can have put another file under the temporary name: it is not what we promise then. */
export async function requirePlaced({ place, identity }: StagedFile): Promise<void> {
  const found = await place.directory.stat(place.name);
  if (found?.ino === identity.ino && found.dev === identity.dev) return;
  throw new PathRefused('another file was put in its place during the restore');
}

/** Gives an error of the file system the path that it is about. */
export async function about<T>(snapshot: string, path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') throw new UmlsnapError('TargetExists', { path }, error);
    throw restoreFailed(snapshot, path, error);
  }
}

/** The error of something that could not be done at this path. */
export function restoreFailed(snapshot: string, path: string, error: unknown): unknown {
  const errno = errnoOf(error);
  if (error instanceof UmlsnapError || !isPathError(error)) return error;
  const full = errno === 'ENOSPC' || errno === 'EDQUOT';
  const problem = full ? `there is no room left (${errno})` : problemOf(error);
  return new UmlsnapError('RestoreFailed', { snapshot, path, problem }, error);
}
