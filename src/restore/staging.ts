import { type FileHandle, open, rm } from 'node:fs/promises';
import { errnoOf, problemOf, UmlsnapError } from '../errors.js';
import { copyStoredFile, type StoredFile, withStoredFile } from '../store/stored-file.js';
import { type RestoreOptions, workOn } from './restore-source.js';
import { removeLeftovers, temporaryName } from './temporary-name.js';

export interface StagedFile {
  /** Where its content lies now, whole, checked and durable. */
  temporaryPath: string;
  path: string;
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
   * Writes the stored file beside `path`. Nothing that is there is touched.
   * @throws SnapshotDamaged, RestoreFailed, or the signal's reason
   */
  stage(stored: StoredFile, path: string, look: StagedLook): Promise<StagedFile>;
}

/** Runs a restore's work; what was staged and not renamed to its place is gone afterwards, unless we are killed. */
export async function withStaging<T>(
  options: RestoreOptions,
  use: (staging: Staging) => Promise<T>,
): Promise<T> {
  const temporaryPaths: string[] = [];
  try {
    return await use({
      async stage(stored, path, look) {
        await removeLeftovers(path);
        const temporaryPath = temporaryName(path);
        temporaryPaths.push(temporaryPath);
        return stageFile(stored, path, temporaryPath, look, options);
      },
    });
  } finally {
    for (const temporaryPath of temporaryPaths) await rm(temporaryPath, { force: true });
  }
}

async function stageFile(
  stored: StoredFile,
  path: string,
  temporaryPath: string,
  look: StagedLook,
  options: RestoreOptions,
): Promise<StagedFile> {
  return withStoredFile(stored, async (source) => {
    const target = await onTarget(stored, path, () => open(temporaryPath, 'wx+', 0o600));
    try {
      const { dataBytes } = await onTarget(stored, path, () =>
        copyStoredFile(stored, source, target.fd, workOn(stored.file, options)),
      );
      await onTarget(stored, path, () => finish(target, look));
      return { temporaryPath, path, dataBytes };
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

async function onTarget<T>(stored: StoredFile, path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw restoreFailed(stored.snapshot, path, error);
  }
}

/** The error of something that could not be done at this path. */
export function restoreFailed(snapshot: string, path: string, error: unknown): unknown {
  const errno = errnoOf(error);
  if (errno === undefined || error instanceof UmlsnapError) return error;
  const full = errno === 'ENOSPC' || errno === 'EDQUOT';
  const problem = full ? `there is no room left (${errno})` : problemOf(error);
  return new UmlsnapError('RestoreFailed', { snapshot, path, problem }, error);
}
