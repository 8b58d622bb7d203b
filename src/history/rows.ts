import type { Selectable } from 'kysely';
import type { JobRecord, PauseRecord, PhaseRecord, SnapshotRecord } from './records.js';
import type { JobsTable, PausesTable, PhasesTable, SnapshotsTable } from './tables.js';

/** Rows to records. The columns hold only what our own inserts, typed by the records, have put there. */

export function jobRecord(row: Selectable<JobsTable>): JobRecord {
  return {
    job: row.job,
    kind: row.kind as JobRecord['kind'],
    guest: row.guest,
    trigger: row.trigger as JobRecord['trigger'],
    startedAt: row.started_at,
    pid: row.pid,
    pidStartTicks: row.pid_start_ticks,
    bootId: row.boot_id,
    status: row.status as JobRecord['status'],
    finishedAt: row.finished_at,
    error: row.error === null ? null : JSON.parse(row.error),
    warnings: JSON.parse(row.warnings),
    summary: row.summary === null ? null : JSON.parse(row.summary),
  };
}

export function phaseRecord(row: Selectable<PhasesTable>): PhaseRecord {
  return {
    phase: row.phase,
    startedAt: row.started_at,
    durationMs: row.duration_ms,
    outcome: row.outcome as PhaseRecord['outcome'],
    facts: JSON.parse(row.facts),
  };
}

export function pauseRecord(row: Selectable<PausesTable>): PauseRecord {
  return {
    pause: row.pause,
    job: row.job,
    guest: row.guest,
    budgetMs: row.budget_ms,
    intendedAt: row.intended_at,
    pausedMs: row.paused_ms,
    endedBy: row.ended_by as PauseRecord['endedBy'],
    endedAt: row.ended_at,
  };
}

export function snapshotRecord(row: Selectable<SnapshotsTable>): SnapshotRecord {
  return {
    snapshot: row.snapshot,
    store: row.store,
    guest: row.guest,
    job: row.job,
    takenAt: row.taken_at,
    consistency: row.consistency as SnapshotRecord['consistency'],
    dirtyKib: row.dirty_kib,
    method: row.method,
    pausedMs: row.paused_ms,
    sizeBytes: row.size_bytes,
    storedBytes: row.stored_bytes,
    pinned: row.pinned !== 0,
    labels: JSON.parse(row.labels),
    manifestSha256: row.manifest_sha256,
    own: row.own !== 0,
    owner:
      row.owner_id === null || row.owner_host === null ? null : { id: row.owner_id, host: row.owner_host },
  };
}
