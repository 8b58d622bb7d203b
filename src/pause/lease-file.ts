import { rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isOutOfRoom, problemOf, UmlsnapError } from '../errors.js';
import { ensureDirectories, replaceFile } from '../image/durable-file.js';

/**
 * Writes the text of a lease durably: file and directory are on disk when this returns. The guest's lock is held.
 * @throws StateUnusable
 */
export async function writeLeaseFile(file: string, text: string): Promise<void> {
  try {
    await ensureDirectories(dirname(file));
    // What a kill in the middle of this has left; nobody else writes leases of a guest whose lock we hold.
    await rm(`${file}.new`, { force: true });
    await replaceFile(file, `${file}.new`, text);
  } catch (error) {
    throw new UmlsnapError(
      'StateUnusable',
      { path: file, problem: problemOf(error), isFull: isOutOfRoom(error) },
      error,
    );
  }
}
