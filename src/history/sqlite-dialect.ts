import type { DatabaseSyncInstance, StatementSyncInstance } from '@photostructure/sqlite';
import type { CompiledQuery, DatabaseConnection, Dialect, DialectAdapter, Driver, QueryResult } from 'kysely';
import { SqliteIntrospector, SqliteQueryCompiler } from 'kysely';

/**
 * Kysely over one open connection of `@photostructure/sqlite`. Differs from Kysely's own SQLite dialect in what was
 * seen to fail there: transactions begin IMMEDIATE (a plain BEGIN that wants to write later fails at once when
 * another process wrote meanwhile, and no busy timeout helps), and DDL is transactional (else concurrent migrations
 * collide).
 */
export function sqliteDialect(database: DatabaseSyncInstance): Dialect {
  return {
    createAdapter: () => adapter,
    createDriver: () => driver(database),
    createIntrospector: (db) => new SqliteIntrospector(db),
    createQueryCompiler: () => new SqliteQueryCompiler(),
  };
}

const adapter: DialectAdapter = {
  supportsCreateIfNotExists: true,
  supportsTransactionalDdl: true,
  supportsReturning: true,
  // BEGIN IMMEDIATE is the lock.
  acquireMigrationLock: async () => {},
  releaseMigrationLock: async () => {},
};

function driver(database: DatabaseSyncInstance): Driver {
  // Kept: the binding frees a statement only when it is garbage-collected, and our queries are few.
  const statements = new Map<string, StatementSyncInstance>();
  const prepare = (sql: string) => {
    const statement = statements.get(sql) ?? database.prepare(sql);
    statements.set(sql, statement);
    return statement;
  };
  const connection: DatabaseConnection = {
    executeQuery: async <Row>(query: CompiledQuery) => execute<Row>(prepare(query.sql), query),
    streamQuery: () => {
      throw new Error('the history reads its rows at once, never as a stream');
    },
  };
  let turn = Promise.resolve();
  let endTurn = () => {};
  return {
    init: async () => {},
    // One connection: whoever wants it waits for the one before.
    acquireConnection: async () => {
      const before = turn;
      let end = () => {};
      turn = new Promise((resolve) => {
        end = resolve;
      });
      await before;
      endTurn = end;
      return connection;
    },
    releaseConnection: async () => endTurn(),
    beginTransaction: async () => database.exec('begin immediate'),
    commitTransaction: async () => database.exec('commit'),
    // After some errors (a full disk, a damaged file) SQLite has rolled back already, and a second rollback's error
    // would hide the cause.
    rollbackTransaction: async () => {
      if (database.isTransaction) database.exec('rollback');
    },
    destroy: async () => database.close(),
  };
}

function execute<Row>(statement: StatementSyncInstance, query: CompiledQuery): QueryResult<Row> {
  for (const parameter of query.parameters) {
    if (typeof parameter === 'string' && parameter.includes('\0')) {
      throw new Error('text with a NUL would be read back cut short');
    }
  }
  if (statement.columns().length > 0) return { rows: statement.all(...query.parameters) as Row[] };
  const { changes } = statement.run(...query.parameters);
  return { rows: [], numAffectedRows: BigInt(changes) };
}
