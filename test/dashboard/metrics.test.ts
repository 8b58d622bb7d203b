import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { exposition } from '../../src/dashboard/metrics/exposition.js';
import { gather } from '../../src/dashboard/metrics/gather.js';
import { readOverview } from '../../src/dashboard/read-overview.js';
import { resolveConfig } from '../../src/config/resolve.js';
import { SqliteHistory } from '../../src/history/sqlite-history.js';
import { jobEnd, jobStart, pauseIntent, snapshot, verification } from '../history/records-of-tests.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { runTool, type ToolResult, tryTool } from '../support/run-tool.js';
import { testCacheDir } from '../support/test-cache.js';

const docs = resolve(import.meta.dirname, '../../docs/monitoring');
const now = new Date('2026-11-22T12:00:00.000Z');
let dir: string;
let history: SqliteHistory;
const guestOf = (mconsole: string, more = {}) => ({
  mconsole,
  disks: { ubd0: { path: `/${mconsole}` } },
  ...more,
});
const { guests, stores } = resolveConfig('/c', {
  defaults: { timezone: 'UTC' },
  stores: { local: { type: 'directory', path: '/backups' } },
  guests: { debian: guestOf('debian', { schedule: '15 3 * * *' }), byhand: guestOf('byhand') },
});

beforeAll(async () => {
  dir = await makeTempDir();
  history = await SqliteHistory.open(join(dir, 'history.db'));
  await makeHistory();
});
afterAll(async () => {
  history.close();
  await removeTempDir(dir);
});

async function makeHistory(): Promise<void> {
  const jobs = [
    ['a', 'success', 2.125] as const,
    ['b', 'failed', 5001] as const,
    ['c', 'success', 2.5] as const,
  ];
  for (const [job, status, pausedMs] of jobs) {
    await history.startJob(jobStart(job));
    await history.intendPause(pauseIntent(`${job}.1`, job));
    await history.endPause(`${job}.1`, { pausedMs, endedBy: 'request', endedAt: '2026-11-21T03:15:02.000Z' });
    await history.finishJob(job, jobEnd({ status }));
  }
  await history.startJob(jobStart('open', { startedAt: '2026-11-22T11:59:00.000Z' }));
  await history.intendPause({ ...pauseIntent('open.1', 'open'), intendedAt: '2026-11-22T11:59:30.000Z' });
  await history.startJob(jobStart('d', { startedAt: '2026-11-22T03:15:00.000Z' }));
  const error = { phase: 'preflight', code: 'GuestHalted', message: 'Guest debian is halted.' };
  await history.finishJob('d', jobEnd({ status: 'skipped', error }));
  await history.startJob(jobStart('v', { kind: 'verify' }));
  await history.finishJob('v', jobEnd());
  await history.recordSnapshot(snapshot('debian@20261121T031502Z', { job: 'c', dirtyKib: 3 }));
  // In a store that the config had once.
  for (const [day, result] of [[22, 'ok'] as const, [23, 'damaged'] as const]) {
    const [name, store, takenAt] = [`debian@202611${day}T031502Z`, 'dropped', `2026-11-${day}T03:15:02.000Z`];
    await history.recordSnapshot(snapshot(name, { job: `${day}`, store, takenAt }));
    await history.recordVerification(verification(name, { store, result }));
  }
}

async function scrape(): Promise<string> {
  const overview = await readOverview({ guests, stores }, history, () => null, now);
  const found = await gather(overview, { stores }, history);
  const rooms = [{ store: 'local', freeBytes: 5, sizeBytes: 10 }];
  const daemon = { version: '1.2.3', startedAt: '2026-11-20T00:00:00.000Z', isConfigRefused: true };
  return await exposition({ ...found, rooms, ...daemon });
}

/** Seconds since 1970 of a time in UTC. */
const at = (time: string) => Date.parse(`2026-11-${time}Z`) / 1000;

describe('a scrape', () => {
  test('tells of each guest what the history knows, in seconds and bytes', async () => {
    const lines = (await scrape()).split('\n');
    const samples: [string, number, string?][] = [
      ['last_success_timestamp_seconds', at('21T03:15:02')],
      ['unsound_copies', 0],
      ['due_timestamp_seconds', at('22T03:15:00')],
      ['halted', 1],
      ['expected_interval_seconds', 86_400],
      ['next_run_timestamp_seconds', at('23T03:15:00')],
      ['last_duration_seconds', 9.25],
      ['pause_budget_seconds', 5],
      ['paused', 1],
      ['pause_intended_timestamp_seconds', at('22T11:59:30')],
      ['snapshot_size_bytes', 1_099_511_627_776],
      ['snapshot_stored_bytes', 123_456_789],
      ['snapshot_dirty_bytes', 3072],
      ['last_verified_timestamp_seconds', at('21T03:15:09.250')],
      ['snapshot_consistency', 1, 'level="synced"'],
      ['snapshot_consistency', 0, 'level="crash"'],
      ['jobs_total', 2, 'kind="backup",status="success"'],
      ['jobs_total', 1, 'kind="backup",status="failed"'],
      ['jobs_total', 0, 'kind="drill",status="failed"'],
      // In classes that add up.
      ['pause_seconds_bucket', 0, 'le="0.001"'],
      ['pause_seconds_bucket', 2, 'le="0.0025"'],
      ['pause_seconds_bucket', 2, 'le="5"'],
      ['pause_seconds_bucket', 3, 'le="10"'],
      ['pause_seconds_bucket', 3, 'le="+Inf"'],
      ['pause_seconds_count', 3],
      ['pause_seconds_sum', 5.005625],
    ];
    expect(lines).toContain('umlsnap_config_last_reload_successful 0');
    for (const [metric, value, label] of samples)
      expect(lines).toContain(`umlsnap_${metric}{guest="debian"${label ? `,${label}` : ''}} ${value}`);
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

/**
 * promtool out of Debian's package of Prometheus, which is fetched and not installed: that would start a server on this host.
 * @param input a file
 * @throws Error when it can't be fetched: what it checks is then not checked, and that is no success
 */
async function promtool(args: string[], directory: string, input = '/dev/null'): Promise<ToolResult> {
  const script = 'cd "$0" && input=$1 && shift && exec "$@" < "$input"';
  return await tryTool('sh', ['-c', script, directory, input, await findPromtool(), ...args]);
}

async function findPromtool(): Promise<string> {
  if (existsSync('/usr/bin/promtool')) return '/usr/bin/promtool';
  const dir = join(await testCacheDir(), 'promtool');
  const program = join(dir, 'usr/bin/promtool');
  if (existsSync(program)) return program;
  await mkdir(dir, { recursive: true });
  // As root, apt fetches as a user who has no rights here.
  const fetch =
    'cd "$0" && apt-get -qq -o APT::Sandbox::User=root download prometheus && dpkg-deb --fsys-tarfile prometheus_*.deb';
  await runTool('sh', ['-c', `${fetch} | tar -x ./usr/bin/promtool`, dir], 120_000);
  return program;
}
