/** What an error of SQLite's means to us. `busy`: try again later. `unusable`: nothing we do will help; says why. */
export type SqliteFailure = { kind: 'busy' } | { kind: 'unusable'; problem: string };

interface Meaning {
  /** https://sqlite.org/rescode.html */
  primaryCode: number;
  /** SQLite's own text: the binding's `all` passes on no code. */
  text: string;
  failure: SqliteFailure;
}

const busy: SqliteFailure = { kind: 'busy' };
const unusable = (problem: string): SqliteFailure => ({ kind: 'unusable', problem });

const meanings: Meaning[] = [
  { primaryCode: 3, text: 'access permission denied', failure: unusable('access to it is denied') },
  { primaryCode: 5, text: 'database is locked', failure: busy },
  { primaryCode: 6, text: 'database table is locked', failure: busy },
  { primaryCode: 8, text: 'attempt to write a readonly database', failure: unusable('it is read-only') },
  { primaryCode: 10, text: 'disk I/O error', failure: unusable('reading or writing it failed') },
  { primaryCode: 11, text: 'database disk image is malformed', failure: unusable('it is damaged') },
  { primaryCode: 13, text: 'database or disk is full', failure: unusable('there is no room left for it') },
  { primaryCode: 14, text: 'unable to open database file', failure: unusable('it could not be opened') },
  { primaryCode: 15, text: 'locking protocol', failure: unusable('its lock could not be taken') },
  { primaryCode: 22, text: 'large file support is disabled', failure: unusable('it is too large') },
  { primaryCode: 23, text: 'authorization denied', failure: unusable('access to it is denied') },
  { primaryCode: 26, text: 'file is not a database', failure: unusable('it is not a database') },
];

/** Sorts a thrown value; undefined for all that is not SQLite's word on the file, such as a broken rule of the schema. */
export function sqliteFailure(error: unknown): SqliteFailure | undefined {
  const { code, errcode, message } = (error ?? {}) as {
    code?: unknown;
    errcode?: unknown;
    message?: unknown;
  };
  if (code !== 'ERR_SQLITE_ERROR' || typeof message !== 'string') return undefined;
  const meaning = meanings.find((each) =>
    typeof errcode === 'number' ? each.primaryCode === (errcode & 0xff) : each.text === message,
  );
  if (meaning === undefined || meaning.failure.kind === 'busy') return meaning?.failure;
  return unusable(`${meaning.failure.problem} (SQLite says: ${message})`);
}
