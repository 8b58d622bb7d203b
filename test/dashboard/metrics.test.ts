import { readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { GuestConfig } from '../../src/config/config.js';
import { exposition } from '../../src/dashboard/metrics/exposition.js';
import { gather } from '../../src/dashboard/metrics/gather.js';
import { readOverview } from '../../src/dashboard/read-overview.js';
import { loadConfig } from '../../src/config/load-config.js';
import { SqliteHistory } from '../../src/history/sqlite-history.js';
import { jobEnd, jobStart, pauseIntent, snapshot } from '../history/records-of-tests.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { promtool } from './promtool.js';

const docs = resolve(import.meta.dirname, '../../docs/monitoring');
const now = new Date('2026-11-22T12:00:00.000Z');
let dir: string;
let history: SqliteHistory;
let guests: GuestConfig[];

beforeAll(async () => {
  dir = await makeTempDir();
  history = await SqliteHistory.open(join(dir, 'history.db'));
  guests = await someGuests();
  await makeHistory();
});
afterAll(async () => {
  history.close();
  await removeTempDir(dir);
});

async function someGuests(): Promise<GuestConfig[]> {
  const file = join(dir, 'config.yaml');
  const disks = (name: string) => ({ mconsole: name, disks: { ubd0: `/${name}.img` } });
  const config = {
    state: dir,
    stores: { local: { type: 'directory', path: dir } },
    defaults: { timezone: 'UTC', pauseBudget: '5s' },
    guests: { debian: { ...disks('debian'), schedule: '15 3 * * *' }, byhand: disks('byhand') },
  };
  await writeFile(file, JSON.stringify(config));
  return Object.values((await loadConfig(file)).guests);
}

async function makeHistory(): Promise<void> {
  for (const [job, status, pausedMs] of [
    ['a', 'success', 2.125],
    ['b', 'failed', 5001],
    ['c', 'success', 2.5],
  ] as const) {
    await history.startJob(jobStart(job));
    await history.intendPause(pauseIntent(`${job}.1`, job));
    await history.endPause(`${job}.1`, { pausedMs, endedBy: 'request', endedAt: '2026-11-21T03:15:02.000Z' });
    await history.finishJob(job, jobEnd({ status }));
  }
  await history.startJob(jobStart('open', { startedAt: '2026-11-22T11:59:00.000Z' }));
  await history.intendPause({ ...pauseIntent('open.1', 'open'), intendedAt: '2026-11-22T11:59:30.000Z' });
  await history.startJob(jobStart('v', { kind: 'verify' }));
  await history.finishJob('v', jobEnd());
  await history.recordSnapshot(snapshot('debian@20261121T031502Z', { job: 'c', dirtyKib: 3 }));
}

async function scrape(): Promise<string> {
  const overview = await readOverview(guests, history, () => null, now);
  const found = await gather(overview, history);
  const rooms = [{ store: 'local', freeBytes: 5, sizeBytes: 10 }];
  return await exposition({ ...found, rooms, version: '1.2.3', startedAt: '2026-11-20T00:00:00.000Z' });
}

describe('a scrape', () => {
  test('tells of each guest what the history knows, in seconds and bytes', async () => {
    const lines = (await scrape()).split('\n').filter((line) => line.includes('guest="debian"'));
    const takenAt = Date.parse('2026-11-21T03:15:02.000Z') / 1000;
    for (const line of [
      `umlsnap_last_success_timestamp_seconds{guest="debian"} ${takenAt}`,
      `umlsnap_due_timestamp_seconds{guest="debian"} ${Date.parse('2026-11-22T03:15:00Z') / 1000}`,
      'umlsnap_expected_interval_seconds{guest="debian"} 86400',
      `umlsnap_next_run_timestamp_seconds{guest="debian"} ${Date.parse('2026-11-23T03:15:00Z') / 1000}`,
      'umlsnap_last_duration_seconds{guest="debian"} 9.25',
      'umlsnap_pause_budget_seconds{guest="debian"} 5',
      'umlsnap_paused{guest="debian"} 1',
      `umlsnap_pause_intended_timestamp_seconds{guest="debian"} ${Date.parse('2026-11-22T11:59:30Z') / 1000}`,
      'umlsnap_snapshot_size_bytes{guest="debian"} 1099511627776',
      'umlsnap_snapshot_stored_bytes{guest="debian"} 123456789',
      'umlsnap_snapshot_dirty_bytes{guest="debian"} 3072',
      `umlsnap_last_verified_timestamp_seconds{guest="debian"} ${Date.parse('2026-11-21T03:15:09.250Z') / 1000}`,
      'umlsnap_snapshot_consistency{guest="debian",level="synced"} 1',
      'umlsnap_snapshot_consistency{guest="debian",level="crash"} 0',
      'umlsnap_jobs_total{guest="debian",kind="backup",status="success"} 2',
      'umlsnap_jobs_total{guest="debian",kind="backup",status="failed"} 1',
      'umlsnap_jobs_total{guest="debian",kind="drill",status="failed"} 0',
    ])
      expect(lines).toContain(line);
  });

  test('counts pauses in classes that add up', async () => {
    const text = await scrape();
    const bucket = (le: string) =>
      Number(
        new RegExp(`^umlsnap_pause_seconds_bucket\\{guest="debian",le="${le}"\\} (\\d+)$`, 'm').exec(
          text,
        )?.[1],
      );
    expect([bucket('0.001'), bucket('0.0025'), bucket('5'), bucket('10'), bucket('\\+Inf')]).toEqual([
      0, 2, 2, 3, 3,
    ]);
    expect(text).toContain('umlsnap_pause_seconds_count{guest="debian"} 3');
    expect(text).toContain('umlsnap_pause_seconds_sum{guest="debian"} 5.005625');
  });

  test('promises nothing of a guest without a schedule, and has no snapshot of it', async () => {
    const text = await scrape();
    expect(text).toContain('umlsnap_last_success_timestamp_seconds{guest="byhand"} 0');
    expect(text).not.toMatch(/umlsnap_(due|next_run)_timestamp_seconds\{guest="byhand"/);
  });

  test('is what Prometheus takes, with names and units as it wants them', async () => {
    await writeFile(join(dir, 'scrape'), await scrape());
    const checked = await promtool(['check', 'metrics'], dir, join(dir, 'scrape'));
    expect(checked).toMatchObject({ exitCode: 0, output: '' });
  });
});

describe('what docs/monitoring offers', () => {
  test('are rules that Prometheus takes, and that fire on the cases that they name', async () => {
    expect(await promtool(['check', 'rules', 'umlsnap.rules.yml'], docs)).toMatchObject({ exitCode: 0 });
    const tested = await promtool(['test', 'rules', 'umlsnap.rules.test.yml'], docs);
    expect(tested, tested.output).toMatchObject({ exitCode: 0 });
    const names = async (file: string) =>
      (await readFile(join(docs, file), 'utf8')).match(/Umlsnap[A-Z]\w+/g);
    const alerts = new Set(await names('umlsnap.rules.yml'));
    expect(alerts.size).toBeGreaterThan(5);
    expect(new Set(await names('umlsnap.rules.test.yml'))).toEqual(alerts);
  });

  test.each(['umlsnap.rules.yml', 'umlsnap.rules.test.yml', 'grafana.json', '../monitoring.md'])(
    '%s names no metric that there is not',
    async (file) => {
      const known = new Set([...(await scrape()).matchAll(/^(umlsnap_\w+)/gm)].map(([, name]) => name));
      const used = new Set((await readFile(join(docs, file), 'utf8')).match(/\bumlsnap_[a-z_]+[a-z]\b/g));
      expect(used.size).toBeGreaterThan(5);
      const families = [...known].map((name) => name?.replace(/_(bucket|sum|count)$/, ''));
      const unknown = [...used].filter((name) => !known.has(name) && !families.includes(name));
      // The last drill shows once there was one.
      expect(unknown.filter((name) => name !== 'umlsnap_last_drilled_timestamp_seconds')).toEqual([]);
    },
  );
});
