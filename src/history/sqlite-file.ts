import {
  accessSync,
  chmodSync,
  closeSync,
  constants,
  existsSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  statfsSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync, type DatabaseSyncInstance } from '@photostructure/sqlite';
import { errnoOf, isOutOfRoom, problemOf, UmlsnapError } from '../errors.js';

/**
 * How long SQLite itself waits for a lock. It waits synchronously, and the process may be about to resume a guest:
 * so a little here, and the rest asynchronously in `SqliteHistory`.
 */
const busyTimeoutMs = 10;

/**
 * Opens the database file, created 0600 in a directory created 0700, with every acknowledged row durable: WAL and
 * `synchronous=FULL` (WAL with NORMAL lost acknowledged rows in 60 of 60 power cuts, FULL in none), both read back.
 * SQLite's own errors pass through.
 * @throws HistoryUnusable
 */
export function openSqliteFile(path: string, readOnly: boolean): DatabaseSyncInstance {
  if (readOnly) requireFile(path);
  else createFile(path);
  const database = new DatabaseSync(path, { readOnly, timeout: busyTimeoutMs });
  try {
    if (!readOnly) requireSetting(database, path, 'journal_mode', 'journal_mode=wal', 'wal');
    requireSetting(database, path, 'synchronous', 'synchronous', 2, 'synchronous=full');
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

function requireSetting(
  database: DatabaseSyncInstance,
  path: string,
  name: string,
  query: string,
  expected: string | number,
  set?: string,
): void {
  if (set !== undefined) database.exec(`pragma ${set}`);
  const found = (database.prepare(`pragma ${query}`).get() as Record<string, unknown> | undefined)?.[name];
  if (found === expected) return;
  throw new UmlsnapError('HistoryUnusable', {
    path,
    problem: `its ${name} stays at ${String(found)} instead of ${expected}; is it on a network filesystem?`,
  });
}

function requireFile(path: string): void {
  if (!existsSync(path)) throw new UmlsnapError('HistoryUnusable', { path, problem: 'it does not exist' });
}

/**
 * Creates the file with its mode, or takes rights away from one that others can read. A file that exists MUST NOT be
 * opened and closed here: closing it would drop the locks of every other connection of this process (POSIX).
 */
function createFile(path: string): void {
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    closeSync(openSync(path, 'wx', 0o600));
    syncDirectory(dirname(path));
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') keepToOwner(path);
    else throw historyUnusable(path, problemOf(error), error);
  }
}

/** Less than SQLite wants at the least to write a row, or to map what its processes share. */
const leastRoomBytes = 64 * 1024;

/**
 * Why the file can't be used. Of a disk without room SQLite says no more than that something failed, so that it is asked how much there is.
 */
export function historyUnusable(path: string, problem: string, cause: unknown): UmlsnapError {
  if (!isOutOfRoom(cause) && !isFilled(dirname(path)))
    return new UmlsnapError('HistoryUnusable', { path, problem }, cause);
  const full = 'there is no room left on its filesystem';
  return new UmlsnapError('HistoryUnusable', { path, problem: full, isFull: true }, cause);
}

function isFilled(directory: string): boolean {
  try {
    const { bavail, bsize } = statfsSync(directory);
    return bavail * bsize < leastRoomBytes;
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    return false;
  }
}

function keepToOwner(path: string): void {
  const found = lstatSync(path);
  if (!found.isFile())
    throw new UmlsnapError('HistoryUnusable', { path, problem: 'it is not a regular file' });
  try {
    // Now, since SQLite itself would open it to read only and complain at the first write.
    accessSync(path, constants.R_OK | constants.W_OK);
    if ((found.mode & 0o077) !== 0) chmodSync(path, 0o600);
  } catch (error) {
    throw historyUnusable(path, problemOf(error), error);
  }
}

function syncDirectory(path: string): void {
  const directory = openSync(path, 'r');
  try {
    fsyncSync(directory);
  } finally {
    closeSync(directory);
  }
}
