/** The rows of the history's tables. Booleans are 0 or 1, times ISO 8601 text, structures JSON text. */

export interface JobsTable {
  job: string;
  kind: string;
  guest: string | null;
  trigger: string;
  started_at: string;
  pid: number;
  pid_start_ticks: number;
  boot_id: string;
  status: string;
  finished_at: string | null;
  /** JSON of a JobFailure. */
  error: string | null;
  /** JSON array of strings. */
  warnings: string;
  /** JSON object. */
  summary: string | null;
}

export interface PhasesTable {
  job: string;
  /** Counts the phases of a job from 1, in the order in which they were recorded. */
  number: number;
  phase: string;
  started_at: string;
  duration_ms: number;
  outcome: string;
  /** JSON object. */
  facts: string;
}

export interface JobLogTable {
  job: string;
  /** Counts the lines of a job from 1. */
  number: number;
  at: string;
  level: string;
  text: string;
}

export interface PausesTable {
  pause: string;
  job: string;
  guest: string;
  budget_ms: number;
  intended_at: string;
  paused_ms: number | null;
  ended_by: string | null;
  ended_at: string | null;
}

export interface SnapshotsTable {
  store: string;
  snapshot: string;
  guest: string;
  job: string | null;
  taken_at: string;
  consistency: string;
  dirty_kib: number;
  method: string;
  paused_ms: number;
  size_bytes: number;
  stored_bytes: number;
  pinned: number;
  /** JSON object of strings. */
  labels: string;
  manifest_sha256: string;
  /** null: it is there. A removed snapshot keeps its row, so that the history can tell why it is gone. */
  removed_at: string | null;
  removal_reason: string | null;
  own: number;
  /** null, both: the first format of manifests had none. */
  owner_id: string | null;
  owner_host: string | null;
}

/** One row, or none. */
export interface IdentityTable {
  one: number;
  /** Of the state directory. */
  id: string;
}

export interface SlotsTable {
  /** The entry of the timetable: a guest, or a global job under a name that no guest can have. */
  guest: string;
  slot: string;
}

export interface StoresTable {
  store: string;
  id: string;
}

export interface EventsTable {
  number: number;
  at: string;
  guest: string;
  type: string;
  text: string;
  missed: number;
}

export interface SweepsTable {
  store: string;
  guest: string;
  swept_at: string;
  newest_taken_at: string | null;
  ahead_until: string | null;
  boot_id: string;
  uptime_ms: number;
}

export interface DrillsTable {
  store: string;
  snapshot: string;
  guest: string;
  job: string;
  drilled_at: string;
  passed: number;
  problem: string | null;
}

export interface VerificationsTable {
  store: string;
  snapshot: string;
  job: string | null;
  verified_at: string;
  result: string;
  problem: string | null;
  read_bytes: number;
  /** JSON array of FilesystemRecords. */
  filesystems: string;
}

export interface BadFilesystemsTable {
  guest: string;
  /** That took the snapshot. */
  job: string;
  store: string;
  found_at: string;
  problem: string | null;
}

export interface JobTotalsTable {
  /** Empty: of no guest. */
  guest: string;
  kind: string;
  status: string;
  jobs: number;
}

export interface PauseTotalsTable {
  guest: string;
  bucket: number;
  pauses: number;
  total_ms: number;
}

export interface Tables {
  jobs: JobsTable;
  phases: PhasesTable;
  job_log: JobLogTable;
  pauses: PausesTable;
  snapshots: SnapshotsTable;
  identity: IdentityTable;
  slots: SlotsTable;
  stores: StoresTable;
  events: EventsTable;
  sweeps: SweepsTable;
  drills: DrillsTable;
  verifications: VerificationsTable;
  bad_filesystems: BadFilesystemsTable;
  job_totals: JobTotalsTable;
  pause_totals: PauseTotalsTable;
}
