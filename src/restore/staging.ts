import type { FileHandle } from 'node:fs/promises';
import { errnoOf, problemOf, UmlsnapError } from '../errors.js';
import { readCowHeader } from '../image/cow-file.js';
import { runImageWork } from '../image/image-thread.js';
import { countDataBytes } from '../image/sparse-copy.js';
import { PathRefused, type Place, isPathError, pathOf } from '../path/held-directory.js';
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

/** The two files of a COW disk. */
export interface StoredPair {
  cow: StoredFile;
  backing: StoredFile;
}

export interface Staging {
  /**
   * Writes the stored file beside its place. Nothing that is there is touched.
   * @throws SnapshotDamaged, RestoreFailed, or the signal's reason
   */
  stage(stored: StoredFile, place: Place, look: StagedLook): Promise<StagedFile>;
  /**
   * The same with the raw image of a COW disk. Both of its files are held against their checksums while they are copied, and
   * the copies are what is merged: no byte of the image was read from where it could have changed since. The COW file's copy lies beside
   * the image meanwhile.
   * @throws NoCowPair as well
   */
  stageMerged(pair: StoredPair, place: Place, look: StagedLook): Promise<StagedFile>;
}

/** Runs a restore's work; what was staged and not renamed to its place is gone afterwards, unless we are killed. */
export async function withStaging<T>(
  options: RestoreOptions,
  use: (staging: Staging) => Promise<T>,
): Promise<T> {
  const temporaries: Place[] = [];
  const temporaryFor = ({ directory, name }: Place): Place => {
    const temporary = { directory, name: temporaryName(name) };
    temporaries.push(temporary);
    return temporary;
  };
  const stage = async (
    stored: StoredFile,
    place: Place,
    look: StagedLook,
    change = async (_target: FileHandle, dataBytes: number) => dataBytes,
  ): Promise<StagedFile> => {
    await removeLeftovers(place);
    const temporary = temporaryFor(place);
    return await withCopy(stored, place, temporary, options, async (target, copiedBytes) => {
      const dataBytes = await change(target, copiedBytes);
      await onTarget(stored, place, () => finish(target, look));
      const { dev, ino } = await target.stat({ bigint: true });
      return { place, temporaryName: temporary.name, identity: { dev, ino }, dataBytes };
    });
  };
  try {
    return await use({
      stage: (stored, place, look) => stage(stored, place, look),
      stageMerged: ({ cow, backing }, place, look) =>
        stage(backing, place, look, async (target) => {
          const temporary = temporaryFor(place);
          await withCopy(cow, place, temporary, options, (copy) => merge(cow, copy, target, place, options));
          // As large as all that the guest has written, and of no more use.
          await place.directory.unlink(temporary.name);
          return await countDataBytes(target.fd, { signal: options.signal });
        }),
    });
  } finally {
    for (const { directory, name } of temporaries) await directory.unlink(name);
  }
}

const onTarget = <T>({ snapshot }: StoredFile, place: Place, work: () => Promise<T>) =>
  about(snapshot, pathOf(place), work);

/** Lets `use` have a verified copy of the stored file, under a temporary name. */
async function withCopy<T>(
  stored: StoredFile,
  place: Place,
  temporary: Place,
  options: RestoreOptions,
  use: (copy: FileHandle, dataBytes: number) => Promise<T>,
): Promise<T> {
  const copy = await onTarget(stored, place, () => temporary.directory.create(temporary.name));
  try {
    const { dataBytes } = await withStoredFile(stored, (source) =>
      onTarget(stored, place, () => copyStoredFile(stored, source, copy.fd, workOn(stored.file, options))),
    );
    return await use(copy, dataBytes);
  } finally {
    await copy.close();
  }
}

async function merge(
  { snapshot, file }: StoredFile,
  cow: FileHandle,
  target: FileHandle,
  place: Place,
  { signal }: RestoreOptions,
): Promise<void> {
  await about(snapshot, pathOf(place), async () => {
    const header = await readCowHeader(cow, (await target.stat()).size);
    if ('problem' in header) throw new UmlsnapError('NoCowPair', { snapshot, file, problem: header.problem });
    const { layout } = header;
    await runImageWork({ kind: 'mergeCow', cowFd: cow.fd, targetFd: target.fd, layout }, { signal });
  });
}

/** fsync MUST come last: what was merged, the owner and the times are to be as durable as the content. */
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
