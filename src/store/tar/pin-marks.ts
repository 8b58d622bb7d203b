import { constants } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errnoOf } from '../../errors.js';
import { syncDirectory } from '../../image/durable-file.js';
import type { StorePlace } from '../layout.js';
import { markPath } from './archive-layout.js';

/**
 * Pins beside the archives: to pin a snapshot of many gigabytes must not be to write it anew. A mark is an empty file, so that
 * it is either there or not, and nothing in it can be damaged.
 */

/** A link that whoever serves the store has put there would make a file of root's anywhere; a FIFO would hang us. */
const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/** Durable when this has returned. At every instant the old word counts or the new one. */
export async function writeMark(
  place: StorePlace,
  guest: string,
  name: string,
  pinned: boolean,
): Promise<void> {
  const mark = markPath(place, guest, name, pinned);
  try {
    await rename(markPath(place, guest, name, !pinned), mark);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
    await (await open(mark, flags, 0o600)).close();
  }
  await syncDirectory(dirname(mark));
}

/** Of a snapshot that is gone: one that gets its name later must not get its pin. */
export async function removeMarks(place: StorePlace, guest: string, name: string): Promise<void> {
  for (const pinned of [true, false]) await rm(markPath(place, guest, name, pinned), { force: true });
}
