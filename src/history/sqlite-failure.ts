/** What an error of SQLite's means to us. `busy`: try again later. `unusable`: nothing we do will help; says why. */
export type SqliteFailure = { kind: 'busy' } | { kind: 'unusable'; problem: string };

/** Primary result codes, https://sqlite.org/rescode.html */
const BUSY = 5;
const LOCKED = 6;
const unusable = new Map<number, string>([
  [3, 'access to it is denied'],
  [8, 'it is read-only'],
  [10, 'reading or writing it failed'],
  [11, 'it is damaged'],
  [13, 'there is no room left for it'],
  [14, 'it could not be opened'],
  [15, 'its lock could not be taken'],
  [22, 'its filesystem lacks large files'],
  [23, 'access to it is denied'],
  [26, 'it is not a database'],
]);

/** Sorts a thrown value; undefined for all that is not SQLite's word on the file, such as a broken rule of the schema. */
export function sqliteFailure(error: unknown): SqliteFailure | undefined {
  const { errcode, message } = (error ?? {}) as { errcode?: unknown; message?: unknown };
  if (typeof errcode !== 'number') return undefined;
  const primary = errcode & 0xff;
  if (primary === BUSY || primary === LOCKED) return { kind: 'busy' };
  const problem = unusable.get(primary);
  return problem === undefined
    ? undefined
    : { kind: 'unusable', problem: `${problem} (${String(message)}, SQLite code ${errcode})` };
}
