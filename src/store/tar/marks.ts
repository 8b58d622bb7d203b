import { constants } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errnoOf } from '../../errors.js';
import { syncDirectory } from '../../image/durable-file.js';
import type { StorePlace } from '../layout.js';
import type { Owner } from '../manifest.js';
import { findMarks, ownerMarkPath, pinMarkPath } from './archive-layout.js';

/**
 * Pins and owners beside the archives: to pin a snapshot of many gigabytes, or to adopt it, must not be to write it anew. A mark is an
 * empty file that says by its name what it says, so that it is either there or not, and nothing in it can be damaged.
 */

/** A link that whoever serves the store has put there would make a file of root's anywhere; a FIFO would hang us. */
const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/** Durable when this has returned. At every instant the old word counts or the new one. */
export async function markPin(
  place: StorePlace,
  guest: string,
  name: string,
  pinned: boolean,
): Promise<void> {
  await replaceMark(pinMarkPath(place, guest, name, !pinned), pinMarkPath(place, guest, name, pinned));
}

/** As `markPin`. Where somebody has put several, those that don't count go first. */
export async function markOwner(place: StorePlace, guest: string, name: string, owner: Owner): Promise<void> {
  const mark = ownerMarkPath(place, guest, name, owner);
  const [counting = mark, ...others] = (await findMarks(place, guest, name)).owners;
  for (const other of others) await rm(other, { force: true });
  await replaceMark(counting, mark);
}

/** Of a snapshot that is gone: one that gets its name later must not get its pin, or its owner. */
export async function removeMarks(place: StorePlace, guest: string, name: string): Promise<void> {
  const { pins, owners } = await findMarks(place, guest, name);
  for (const mark of [...pins, ...owners]) await rm(mark, { force: true });
}

async function replaceMark(before: string, mark: string): Promise<void> {
  try {
    await rename(before, mark);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
    await (await open(mark, flags, 0o600)).close();
  }
  await syncDirectory(dirname(mark));
}
