import { constants } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { UmlsnapError } from '../errors.js';
import { sha256OfOpenFile } from '../image/digest.js';
import { type Place, pathOf } from '../path/held-directory.js';
import type { InPlaceDisk } from './in-place-plan.js';
import { type RestoreOptions, workOn } from './restore-source.js';

type WantedBacking = NonNullable<InPlaceDisk['backing']>;

/**
 * Whether the backing file is there as the snapshot knows it. A different one is never replaced: other guests may stand on it.
 * @throws RestoreFailed when a different one is there, PathRefused when it is no plain file, or its path not to be trusted
 */
export async function findBacking(
  snapshot: string,
  place: Place,
  stored: WantedBacking['stored'],
  options: RestoreOptions,
): Promise<'there' | 'missing'> {
  const handle = await openIfThere(place);
  if (handle === null) return 'missing';
  try {
    const difference = await compare(handle, stored, options);
    if (difference === null) return 'there';
    const problem = `the backing file there is a different one (${difference}), and other guests may stand on it`;
    throw new UmlsnapError('RestoreFailed', { snapshot, path: pathOf(place), problem });
  } finally {
    await handle.close();
  }
}

/** In UML's own order and precision: size, mtime in whole seconds (uml-facts §5); and then what UML does not look at. */
async function compare(
  handle: FileHandle,
  stored: WantedBacking['stored'],
  options: RestoreOptions,
): Promise<string | null> {
  const { size, mtimeMs } = await handle.stat();
  if (size !== stored.sizeBytes) return `${size} bytes, not ${stored.sizeBytes}`;
  const storedSeconds = Math.floor(Date.parse(stored.mtime) / 1000);
  if (Math.floor(mtimeMs / 1000) !== storedSeconds) {
    return `last written to at ${new Date(mtimeMs).toISOString()}, not ${stored.mtime}`;
  }
  const { sha256 } = await sha256OfOpenFile(handle.fd, workOn(stored.file, options));
  return sha256 === stored.sha256 ? null : 'its content differs';
}

async function openIfThere({ directory, name }: Place): Promise<FileHandle | null> {
  const found = await directory.stat(name);
  if (found === null) {
    directory.onlyStranger();
    return null;
  }
  directory.requireTrusted(Number(found.uid));
  return await directory.openFile(name, constants.O_RDONLY);
}
