import { DatabaseSync, type DatabaseSyncInstance } from '@photostructure/sqlite';
import type {
  JobEnd,
  JobStart,
  PauseIntent,
  PhaseRecord,
  SnapshotRecord,
  VerificationRecord,
} from '../../src/history/records.js';

/** Records with everything filled in; each test changes what it is about. */

export const jobStart = (job: string, changes: Partial<JobStart> = {}): JobStart => ({
  ...{ job, kind: 'backup', guest: 'debian', trigger: 'manual', startedAt: '2026-11-21T03:15:00.000Z' },
  ...{ pid: 4711, pidStartTicks: 123456789, bootId: '7f3a9d1c-0000-4000-8000-000000000001' },
  ...changes,
});

export const jobEnd = (changes: Partial<JobEnd> = {}): JobEnd => ({
  ...{ status: 'success', finishedAt: '2026-11-21T03:15:09.250Z', error: null, warnings: [] },
  summary: { type: 'summary', pausedMs: 2.125 },
  ...changes,
});

export const phase = (name: string, changes: Partial<PhaseRecord> = {}): PhaseRecord => ({
  ...{ phase: name, startedAt: '2026-11-21T03:15:00.500Z', durationMs: 12.75, outcome: 'done', facts: {} },
  ...changes,
});

export const pauseIntent = (pause: string, job: string): PauseIntent => ({
  ...{ pause, job, guest: 'debian', budgetMs: 5000, intendedAt: '2026-11-21T03:15:01.000Z' },
});

export const snapshot = (name: string, changes: Partial<SnapshotRecord> = {}): SnapshotRecord => ({
  ...{ snapshot: name, store: 'local', guest: 'debian', job: '20261121T031500Z-7f3a' },
  ...{ takenAt: '2026-11-21T03:15:02.000Z', consistency: 'synced', dirtyKib: 0 },
  ...{ method: 'reflink', pausedMs: 2.125 },
  ...{ sizeBytes: 2 ** 40, storedBytes: 123_456_789, pinned: false, labels: { why: 'before the upgrade' } },
  ...{ manifestSha256: 'a'.repeat(64), own: true, owner: null },
  ...changes,
});

export const verification = (of: string, changes: Partial<VerificationRecord> = {}): VerificationRecord => ({
  ...{ snapshot: of, store: 'local', job: '20261122T043000Z-7f3a', verifiedAt: '2026-11-22T04:31:00.000Z' },
  ...{ result: 'ok', problem: null, readBytes: 2 ** 40 },
  filesystems: [{ disk: 'ubd0', type: 'ext4', verdict: 'sound', reason: null, output: 'clean' }],
  ...changes,
});

/** Lets `use` work on a history's file, past the history. */
export function inSqlite<T>(path: string, use: (database: DatabaseSyncInstance) => T): T {
  const database = new DatabaseSync(path);
  try {
    return use(database);
  } finally {
    database.close();
  }
}

/** What SQLite itself says of a history's file: `ok`. */
export const integrityOf = (path: string): unknown =>
  inSqlite(path, (database) => database.prepare('pragma integrity_check').get()?.integrity_check);
