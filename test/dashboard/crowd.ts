import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from '@photostructure/sqlite';
import type { JobStatus } from '../../src/history/records.js';
import { SqliteHistory } from '../../src/history/sqlite-history.js';
import { pauseBucket } from '../../src/history/pause-buckets.js';
import { startCli, type CliOptions, type RunningCli } from '../support/cli.js';

/** Many guests with a long past that never was, in a real history; none of them runs. */

export interface CrowdOptions {
  guests: number;
  jobsPerGuest: number;
  /** Of each guest's newest jobs, so many have their phases. */
  jobsWithPhases: number;
}

export interface Crowd {
  dir: string;
  configFile: string;
  state: string;
  names: string[];
  start(args: string[], options?: CliOptions): RunningCli;
}

const dayMs = 86_400_000;

/** Some guests have troubles, by their number; the others are well. */
export const failing = 7;
export const late = 11;
export const withoutSnapshot = 23;

export async function makeCrowd(
  dir: string,
  options: CrowdOptions,
  more: Record<string, unknown> = {},
): Promise<Crowd> {
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
    dashboard: { listen: '127.0.0.1:0' },
    stores: { local: { type: 'directory', path: join(dir, 'store') } },
    defaults: { timezone: 'UTC', schedule: `15 ${hour} * * *`, catchUp: false, keep: { daily: 14 } },
    guests: Object.fromEntries(
      names.map((name) => [
        name,
        { mconsole: join(dir, `${name}.sock`), disks: { ubd0: join(dir, `${name}.img`) } },
      ]),
    ),
    ...more,
  };
  await writeFile(configFile, JSON.stringify(config));
  const file = join(state, 'history.db');
  (await SqliteHistory.open(file)).close();
  writePast(file, names, slot, options);
  return {
    ...{ dir, configFile, state, names },
    start: (args, cliOptions) => startCli(['-c', configFile, ...args], cliOptions),
  };
}

const kinds = ['web', 'db', 'mail', 'build', 'proxy', 'wiki'];
const nameOf = (index: number) => `${kinds[index % kinds.length]}-${String(index + 1).padStart(3, '0')}`;

function writePast(file: string, names: string[], newestSlot: Date, options: CrowdOptions): void {
  const database = new DatabaseSync(file);
  database.exec('pragma journal_mode=off; pragma synchronous=off; pragma cache_size=-600000; begin');
  const past = new Past(database);
  for (const name of names) past.writeSlot(name, newestSlot);
  // In the order of time, as it would have been.
  for (let back = options.jobsPerGuest - 1; back >= 0; back--) {
    for (const [index, name] of names.entries())
      past.write(name, index, newestSlot, back, back < options.jobsWithPhases);
  }
  past.writeTotals();
  database.exec('commit; pragma journal_mode=wal');
  database.close();
}

class Past {
  readonly #insert: Record<'job' | 'phase' | 'pause' | 'snapshot' | 'slot', (...values: unknown[]) => void>;
  readonly #database: InstanceType<typeof DatabaseSync>;
  #seed = 1;

  constructor(database: InstanceType<typeof DatabaseSync>) {
    this.#database = database;
    const into = (table: string, columns: string) => {
      const places = columns.replace(/[^,]+/g, '?');
      const statement = database.prepare(`insert into ${table} (${columns}) values (${places})`);
      return (...values: unknown[]) => void statement.run(...(values as string[]));
    };
    this.#insert = {
      job: into(
        'jobs',
        'job,kind,guest,trigger,started_at,pid,pid_start_ticks,boot_id,status,finished_at,error,warnings,summary',
      ),
      phase: into('phases', 'job,number,phase,started_at,duration_ms,outcome,facts'),
      pause: into('pauses', 'pause,job,guest,budget_ms,intended_at,paused_ms,ended_by,ended_at'),
      snapshot: into(
        'snapshots',
        'store,snapshot,guest,job,taken_at,consistency,dirty_kib,method,paused_ms,size_bytes,stored_bytes,pinned,labels,manifest_sha256,removed_at,removal_reason',
      ),
      slot: into('slots', 'guest,slot'),
    };
  }

  writeSlot(guest: string, slot: Date): void {
    this.#insert.slot(guest, slot.toISOString());
  }

  write(guest: string, index: number, newestSlot: Date, back: number, hasPhases: boolean): void {
    if (index === withoutSnapshot && back >= 2) return;
    if (index === late && back < 2) return;
    const startedAt = new Date(newestSlot.getTime() - back * dayMs + index * 1000);
    this.#writeJob(guest, index, startedAt, back, hasPhases);
  }

  #writeJob(guest: string, index: number, startedAt: Date, back: number, hasPhases: boolean): void {
    const compact = startedAt.toISOString().slice(0, 19).replace(/[-:]/g, '');
    const job = `${compact}Z-${index.toString(16).padStart(6, '0')}`;
    const status = this.#statusOf(index, back);
    const pausedMs = Math.round(2000 * Math.exp(2.2 * this.#random())) / 1000;
    const phases = phasesOf(pausedMs, 4000 + 16_000 * this.#random());
    const tookMs = phases.reduce((sum, [, ms]) => sum + ms, 0);
    const finishedAt = new Date(startedAt.getTime() + tookMs).toISOString();
    const isFailed = status === 'failed';
    const message = `Guest ${guest} did not answer \`version\` within 3000 ms. Whether it runs is unknown.`;
    const why = { phase: 'preflight', code: 'GuestNotAnswering', message };
    const error = isFailed ? JSON.stringify(why) : null;
    const warnings = status === 'warning' ? '["3 KiB were not yet on disk at the stop"]' : '[]';
    const at = startedAt.toISOString();
    const summary = JSON.stringify({ type: 'summary', job, kind: 'backup', guest, status, pausedMs });
    this.#insert.job(
      ...[job, 'backup', guest, 'schedule', at, 1, 1, 'boot', status, finishedAt, error, warnings, summary],
    );
    if (isFailed) return;
    if (hasPhases) {
      const facts = '{"dirtyKib":0,"copiedBytes":1048576}';
      for (const [number, [phase, durationMs]] of phases.entries())
        this.#insert.phase(job, number + 1, phase, at, durationMs, 'done', facts);
    }
    this.#insert.pause(`${job}.1`, job, guest, 5000, at, pausedMs, 'request', at);
    const sizeBytes = 8 * 2 ** 30;
    const stored = Math.round(sizeBytes * (0.2 + 0.4 * (1 - back / 1500) + 0.02 * this.#random()));
    const isThere = back < 14;
    const level = back % 9 === 0 ? 'frozen' : 'synced';
    this.#insert.snapshot(
      ...['local', `${guest}@${compact}Z`, guest, job, at, level, 0, 'reflink', pausedMs, sizeBytes, stored],
      ...[back === 5 ? 1 : 0, '{"site":"rome"}', 'a'.repeat(64)],
      ...[isThere ? null : finishedAt, isThere ? null : 'expired'],
    );
  }

  #statusOf(index: number, back: number): JobStatus {
    if (index === withoutSnapshot) return 'failed';
    if (index === failing && back < 2) return 'failed';
    const chance = this.#random();
    if (back === 0) return index % 40 === 3 ? 'warning' : 'success';
    if (chance < 0.02) return 'failed';
    return chance < 0.06 ? 'warning' : 'success';
  }

  writeTotals(): void {
    this.#database.exec(`insert into job_totals (guest, kind, status, jobs)
      select guest, kind, status, count(*) from jobs group by guest, kind, status`);
    const counts = new Map<string, { pauses: number; totalMs: number }>();
    for (const row of this.#database.prepare('select guest, paused_ms from pauses').all()) {
      const { guest, paused_ms: pausedMs } = row as { guest: string; paused_ms: number };
      const key = `${guest}\n${pauseBucket(pausedMs)}`;
      const count = counts.get(key) ?? { pauses: 0, totalMs: 0 };
      counts.set(key, { pauses: count.pauses + 1, totalMs: count.totalMs + pausedMs });
    }
    const insert = this.#database.prepare(
      'insert into pause_totals (guest,bucket,pauses,total_ms) values (?,?,?,?)',
    );
    for (const [key, { pauses, totalMs }] of counts) {
      const [guest = '', bucket = ''] = key.split('\n');
      insert.run(guest, Number(bucket), pauses, totalMs);
    }
  }

  /** The same for every run. */
  #random(): number {
    this.#seed = (this.#seed * 48_271) % 2_147_483_647;
    return this.#seed / 2_147_483_647;
  }
}

function phasesOf(pausedMs: number, totalMs: number): [string, number][] {
  return [
    ['preflight', 120],
    ['precopy', totalMs * 0.6],
    ['quiesce', 180],
    ['stop', 15.5],
    ['sync', pausedMs * 0.25],
    ['capture', pausedMs * 0.6],
    ['go', pausedMs * 0.15 + 0.8],
    ['seal', totalMs * 0.38],
    ['retain', 60],
  ];
}
