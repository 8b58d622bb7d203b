import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from '@photostructure/sqlite';
import type { JobStatus } from '../../src/history/records.js';
import { SqliteHistory } from '../../src/history/sqlite-history.js';
import { pauseBucket } from '../../src/history/pause-buckets.js';
import { type CliOptions, startCli } from '../support/cli.js';

/** Many guests with a long past that never was, in a real history; none of them runs. */

interface CrowdOptions {
  guests: number;
  jobsPerGuest: number;
  /** Of each guest's newest jobs, so many have their phases. */
  jobsWithPhases: number;
  dashboard?: { readWithoutToken: boolean };
}

export type Crowd = Awaited<ReturnType<typeof makeCrowd>>;

const dayMs = 86_400_000;

/** Some guests have troubles, by their number; the others are well. */
export const failing = 7;
export const late = 11;
export const withoutSnapshot = 23;

export async function makeCrowd(dir: string, options: CrowdOptions) {
  const names = Array.from({ length: options.guests }, (_, index) => nameOf(index));
  const state = join(dir, 'state');
  const now = new Date();
  // Far from now, so that nothing comes due meanwhile.
  const hour = (now.getUTCHours() + 12) % 24;
  const slot = new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth(), now.getUTCDate(), hour, 15));
  if (slot > now) slot.setUTCDate(slot.getUTCDate() - 1);
  const configFile = join(dir, 'config.yaml');
  await mkdir(dir, { recursive: true });
  const config = {
    state,
    dashboard: { listen: '127.0.0.1:0', ...options.dashboard },
    stores: { local: { type: 'directory', path: join(dir, 'store') } },
    defaults: { timezone: 'UTC', schedule: `15 ${hour} * * *`, catchUp: false, keep: { daily: 14 } },
    guests: Object.fromEntries(names.map((name) => [name, guestOf(join(dir, name))])),
  };
  await writeFile(configFile, JSON.stringify(config));
  const file = join(state, 'history.db');
  (await SqliteHistory.open(file)).close();
  writePast(file, names, slot, options);
  return {
    ...{ state, names },
    start: (args: string[], cliOptions?: CliOptions) => startCli(['-c', configFile, ...args], cliOptions),
  };
}

const kinds = ['web', 'db', 'mail', 'build', 'proxy', 'wiki'];
const nameOf = (index: number) => `${kinds[index % kinds.length]}-${String(index + 1).padStart(3, '0')}`;
const guestOf = (path: string) => ({ mconsole: `${path}.sock`, disks: { ubd0: `${path}.img` } });

function writePast(file: string, names: string[], newestSlot: Date, options: CrowdOptions): void {
  const database = new DatabaseSync(file);
  database.exec('pragma journal_mode=off; pragma synchronous=off; pragma cache_size=-600000; begin');
  const past = new Past(database);
  for (const guest of names) past.insert('slots', { guest, slot: newestSlot.toISOString() });
  // In the order of time, as it would have been.
  for (let back = options.jobsPerGuest - 1; back >= 0; back--) {
    for (const [index, name] of names.entries()) {
      if (index === withoutSnapshot ? back >= 2 : index === late && back < 2) continue;
      const startedAt = new Date(newestSlot.getTime() - back * dayMs + index * 1000);
      past.writeJob(name, index, startedAt, back, back < options.jobsWithPhases);
    }
  }
  past.writeTotals();
  database.exec('commit; pragma journal_mode=wal');
  database.close();
}

class Past {
  readonly #inserts = new Map<string, { run(...values: never[]): unknown }>();
  #seed = 1;

  constructor(private readonly database: InstanceType<typeof DatabaseSync>) {}

  insert(table: string, row: Record<string, unknown>): void {
    const columns = Object.keys(row);
    const sql = `insert into ${table} (${columns}) values (${columns.map(() => '?')})`;
    const insert = this.#inserts.get(table) ?? this.database.prepare(sql);
    this.#inserts.set(table, insert);
    insert.run(...(Object.values(row) as never[]));
  }

  writeJob(guest: string, index: number, startedAt: Date, back: number, hasPhases: boolean): void {
    const compact = startedAt.toISOString().slice(0, 19).replace(/[-:]/g, '');
    const job = `${compact}Z-${index.toString(16).padStart(6, '0')}`;
    const status = this.#statusOf(index, back);
    const pausedMs = Math.round(2000 * Math.exp(2.2 * this.#random())) / 1000;
    const phases = phasesOf(pausedMs, 4000 + 16_000 * this.#random());
    const tookMs = phases.reduce((sum, [, ms]) => sum + ms, 0);
    const finishedAt = new Date(startedAt.getTime() + tookMs).toISOString();
    const at = startedAt.toISOString();
    const message = `Guest ${guest} did not answer \`version\` within 3000 ms. Whether it runs is unknown.`;
    const error = { phase: 'preflight', code: 'GuestNotAnswering', message };
    this.insert('jobs', {
      ...{ job, kind: 'backup', guest, trigger: 'schedule', started_at: at },
      ...{ pid: 1, pid_start_ticks: 1, boot_id: 'boot', status, finished_at: finishedAt },
      error: status === 'failed' ? JSON.stringify(error) : null,
      warnings: status === 'warning' ? '["3 KiB were not yet on disk at the stop"]' : '[]',
      summary: JSON.stringify({ type: 'summary', job, kind: 'backup', guest, status, pausedMs }),
    });
    if (status === 'failed') return;
    const facts = '{"dirtyKib":0,"copiedBytes":1048576}';
    for (const [index, [phase, durationMs]] of hasPhases ? phases.entries() : []) {
      const timed = { started_at: at, duration_ms: durationMs, outcome: 'done', facts };
      this.insert('phases', { job, number: index + 1, phase, ...timed });
    }
    this.insert('pauses', {
      ...{ pause: `${job}.1`, job, guest, budget_ms: 5000, intended_at: at },
      ...{ paused_ms: pausedMs, ended_by: 'request', ended_at: at },
    });
    const sizeBytes = 8 * 2 ** 30;
    const isThere = back < 14;
    this.insert('snapshots', {
      ...{ store: 'local', snapshot: `${guest}@${compact}Z`, guest, job, taken_at: at },
      ...{ consistency: back % 9 === 0 ? 'frozen' : 'synced', dirty_kib: 0, method: 'reflink' },
      ...{ paused_ms: pausedMs, size_bytes: sizeBytes },
      stored_bytes: Math.round(sizeBytes * (0.2 + 0.4 * (1 - back / 1500) + 0.02 * this.#random())),
      ...{ own: 1, pinned: back === 5 ? 1 : 0, labels: '{"site":"rome"}', manifest_sha256: 'a'.repeat(64) },
      ...{ removed_at: isThere ? null : finishedAt, removal_reason: isThere ? null : 'expired' },
    });
  }

  #statusOf(index: number, back: number): JobStatus {
    if (index === withoutSnapshot || (index === failing && back < 2)) return 'failed';
    const chance = this.#random();
    if (back === 0) return index % 40 === 3 ? 'warning' : 'success';
    if (chance < 0.02) return 'failed';
    return chance < 0.06 ? 'warning' : 'success';
  }

  writeTotals(): void {
    this.database.function('bucket_of', (pausedMs: unknown) => pauseBucket(Number(pausedMs)));
    this.database.exec(`insert into job_totals (guest, kind, status, jobs)
      select guest, kind, status, count(*) from jobs group by guest, kind, status;
      insert into pause_totals (guest, bucket, pauses, total_ms)
      select guest, bucket_of(paused_ms), count(*), sum(paused_ms) from pauses group by 1, 2`);
  }

  /** The same for every run. */
  #random(): number {
    this.#seed = (this.#seed * 48_271) % 2_147_483_647;
    return this.#seed / 2_147_483_647;
  }
}

function phasesOf(pausedMs: number, totalMs: number): [string, number][] {
  const phases = {
    ...{ preflight: 120, precopy: totalMs * 0.6, sync: 180, stop: 15.5, check: pausedMs * 0.25 },
    ...{ capture: pausedMs * 0.6, go: pausedMs * 0.15 + 0.8, seal: totalMs * 0.38, retain: 60 },
  };
  return Object.entries(phases);
}
