import { Gauge, type Metric, Registry } from 'prom-client';
import { pauseBoundsMs } from '../../history/pause-buckets.js';
import type { PauseTotal } from '../../history/total-queries.js';
import { groupBy } from '../group-by.js';
import type { GuestOverview } from '../guest-overview.js';
import type { Measured } from './gather.js';

export const metricsContentType = Registry.PROMETHEUS_CONTENT_TYPE;

/** The names and meanings of our metrics; docs/monitoring.md builds on them. Base units: seconds and bytes. */
const perGuest: {
  name: string;
  help: string;
  measure(about: GuestOverview, all: Measured): number | null;
}[] = [
  {
    name: 'umlsnap_last_success_timestamp_seconds',
    help: 'When the newest sound snapshot of the guest that is still there was taken; 0: there is none.',
    measure: ({ newest }) => seconds(newest?.takenAt) ?? 0,
  },
  {
    name: 'umlsnap_unsound_copies',
    help: 'How many copies of snapshots are damaged, have a bad filesystem, or failed a drill where drills are wanted.',
    measure: ({ unsound }) => unsound.length,
  },
  {
    name: 'umlsnap_due_timestamp_seconds',
    help: 'The newest time of the schedule by which there should be a snapshot now. One that is older is late.',
    measure: ({ promise }) => (promise ? promise.slot.getTime() / 1000 : null),
  },
  {
    name: 'umlsnap_halted',
    help: '1 if the guest was halted when it was last due, and its last backup before is sound. Then it is not late.',
    measure: ({ isHalted }) => (isHalted ? 1 : 0),
  },
  {
    name: 'umlsnap_expected_interval_seconds',
    help: 'How far apart the snapshots are that the schedule promises, now.',
    measure: ({ promise }) =>
      promise && Number.isFinite(promise.intervalMs) ? promise.intervalMs / 1000 : null,
  },
  {
    name: 'umlsnap_next_run_timestamp_seconds',
    help: 'When the schedule runs the guest next.',
    measure: ({ nextRun }) => (nextRun ? nextRun.at.getTime() / 1000 : null),
  },
  {
    name: 'umlsnap_last_duration_seconds',
    help: 'How long the backup took that made the newest snapshot.',
    measure: ({ guest }, { durationMs }) => toSeconds(durationMs.get(guest)),
  },
  {
    name: 'umlsnap_last_pause_seconds',
    help: 'How long the guest stood still the last time, good backup or not.',
    measure: ({ lastPause }) => toSeconds(lastPause?.pausedMs),
  },
  {
    name: 'umlsnap_pause_budget_seconds',
    help: 'The longest that the guest may stand still.',
    measure: ({ config }) => config.pauseBudgetMs / 1000,
  },
  {
    name: 'umlsnap_paused',
    help: '1 while a pause of the guest is not known to be over.',
    measure: ({ openPause }) => (openPause ? 1 : 0),
  },
  {
    name: 'umlsnap_pause_intended_timestamp_seconds',
    help: 'When the pause began that is not known to be over.',
    measure: ({ openPause }) => seconds(openPause?.intendedAt),
  },
  {
    name: 'umlsnap_snapshot_size_bytes',
    help: 'The size of the disks of the newest snapshot, as the guest sees them.',
    measure: ({ newest }) => newest?.sizeBytes ?? null,
  },
  {
    name: 'umlsnap_snapshot_stored_bytes',
    help: 'What the newest snapshot holds of them.',
    measure: ({ newest }) => newest?.storedBytes ?? null,
  },
  {
    name: 'umlsnap_snapshot_dirty_bytes',
    help: 'What the guest had not yet written at the stop of the newest snapshot.',
    measure: ({ newest }) => (newest ? newest.dirtyKib * 1024 : null),
  },
  {
    name: 'umlsnap_last_verified_timestamp_seconds',
    help: 'When a snapshot of the guest was last read again and found good.',
    measure: ({ guest }, { verifiedAt }) => seconds(verifiedAt.get(guest)),
  },
  {
    name: 'umlsnap_last_drilled_timestamp_seconds',
    help: 'When a snapshot of the guest was last booted and found good.',
    measure: ({ guest }, { drilledAt }) => seconds(drilledAt.get(guest)),
  },
];

const levels = ['frozen', 'synced', 'crash'] as const;

/** What a scrape gets, in Prometheus's text format. */
export async function exposition(measured: Measured): Promise<string> {
  const registry = new Registry();
  const gauge = <T extends string>(name: string, help: string, labelNames: T[]) =>
    new Gauge({ name, help, labelNames, registers: [registry] });

  gauge('umlsnap_build_info', 'The version of the daemon.', ['version']).set(
    { version: measured.version },
    1,
  );
  gauge('umlsnap_start_timestamp_seconds', 'When the daemon began.', []).set(
    seconds(measured.startedAt) ?? 0,
  );
  gauge(
    'umlsnap_config_last_reload_successful',
    '0 while a config is refused that was to be read again, and the one before it is in force.',
    [],
  ).set(measured.isConfigRefused ? 0 : 1);
  gauge('umlsnap_guests', 'How many guests the config has.', []).set(measured.guests.length);
  const findings = gauge('umlsnap_guest_findings', 'What is found wrong with the guest, by how bad it is.', [
    'guest',
    'level',
  ]);
  const consistency = gauge('umlsnap_snapshot_consistency', '1 for the consistency of the newest snapshot.', [
    'guest',
    'level',
  ]);
  for (const { guest, newest, findings: found } of measured.guests) {
    for (const level of ['bad', 'notice'])
      findings.set({ guest, level }, found.filter((one) => one.level === level).length);
    if (newest)
      for (const level of levels) consistency.set({ guest, level }, newest.consistency === level ? 1 : 0);
  }
  for (const { name, help, measure } of perGuest) {
    const one = gauge(name, help, ['guest']);
    for (const about of measured.guests) {
      const value = measure(about, measured);
      if (value !== null) one.set({ guest: about.guest }, value);
    }
  }
  const missed = gauge(
    'umlsnap_store_missed_snapshots',
    "A guest's snapshots that are newer than the newest that this store of its has.",
    ['guest', 'store'],
  );
  for (const gap of measured.storeGaps) missed.set({ guest: gap.guest, store: gap.store }, gap.missed);
  const free = gauge('umlsnap_store_free_bytes', 'What the filesystem of a store has room for.', ['store']);
  const size = gauge('umlsnap_store_size_bytes', 'How large the filesystem of a store is.', ['store']);
  for (const { store, freeBytes, sizeBytes } of measured.rooms) {
    free.set({ store }, freeBytes);
    size.set({ store }, sizeBytes);
  }
  registry.registerMetric(jobsMetric(measured));
  registry.registerMetric(pausesMetric(measured.pauseTotals));
  return await registry.metrics();
}

interface Sample {
  metricName?: string;
  labels: Record<string, string | number>;
  value: number;
}

/** prom-client counts what it sees itself; what the history has counted already is handed to it as it stands. */
function counted(name: string, help: string, type: 'counter' | 'histogram', values: Sample[]): Metric {
  return {
    name,
    help,
    get: async () => ({ name, help, type, values, aggregator: 'sum' }),
  } as unknown as Metric;
}

/** There before the first of their kind has happened: nobody sees a counter rise that begins at 1. */
const alwaysCounted = [
  ...['success', 'warning', 'failed', 'skipped', 'interrupted'].map((status) => ({ kind: 'backup', status })),
  ...['verify', 'drill'].flatMap((kind) => ['success', 'failed'].map((status) => ({ kind, status }))),
];

function jobsMetric({ guests, jobTotals }: Measured): Metric {
  const totals = new Map<string, Sample>();
  const enter = (labels: { guest: string; kind: string; status: string }, value: number) =>
    totals.set(Object.values(labels).join(' '), { labels, value });
  for (const { guest } of guests)
    for (const { kind, status } of alwaysCounted) enter({ guest, kind, status }, 0);
  for (const { guest, kind, status, jobs } of jobTotals) enter({ guest: guest ?? '', kind, status }, jobs);
  const samples = [...totals.values()];
  return counted('umlsnap_jobs_total', 'Jobs that have ended, ever.', 'counter', samples);
}

function pausesMetric(totals: PauseTotal[]): Metric {
  const name = 'umlsnap_pause_seconds';
  const samples = [...groupBy(totals, ({ guest }) => guest)].flatMap(([guest, ofGuest]): Sample[] => {
    const upTo = (bucket: number) =>
      ofGuest.filter((total) => total.bucket <= bucket).reduce((sum, { pauses }) => sum + pauses, 0);
    const bucket = (le: string | number, value: number) => ({
      metricName: `${name}_bucket`,
      labels: { guest, le },
      value,
    });
    const all = upTo(pauseBoundsMs.length);
    const sumMs = ofGuest.reduce((sum, { totalMs }) => sum + totalMs, 0);
    return [
      ...pauseBoundsMs.map((boundMs, index) => bucket(boundMs / 1000, upTo(index))),
      bucket('+Inf', all),
      { metricName: `${name}_sum`, labels: { guest }, value: sumMs / 1000 },
      { metricName: `${name}_count`, labels: { guest }, value: all },
    ];
  });
  return counted(name, 'How long guests stood still, every try of every job, ever.', 'histogram', samples);
}

function seconds(iso: string | undefined): number | null {
  return iso === undefined ? null : Date.parse(iso) / 1000;
}

function toSeconds(ms: number | undefined): number | null {
  return ms === undefined ? null : ms / 1000;
}
