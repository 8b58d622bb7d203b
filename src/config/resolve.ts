import { homedir } from 'node:os';
import { join } from 'node:path';
import { resolveAlert, resolveHooks } from './alert-fields.js';
import type { Config, DiskConfig, GuestConfig, StoreConfig } from './config.js';
import { resolveDashboard } from './dashboard-fields.js';
import { resolveDrill } from './drill-fields.js';
import type { ConfigInput, GuestInput } from './schema.js';
import { defaultLargestSnapshotBytes } from './store-config.js';
import { resolveStore } from './store-fields.js';
import { resolveVerify } from './verify-fields.js';

/** The config of a file that has no problems: a guest's own settings first, then `defaults`, then what is built in. */
export function resolveConfig(file: string, input: ConfigInput): Config {
  const state = input.state ?? defaultState();
  const stores = Object.entries(input.stores ?? {}).map(([name, store]) => resolveStore(name, state, store));
  const builtIn = builtInSettings(stores);
  const timezone = input.defaults?.timezone ?? builtIn.timezone;
  const drill = resolveDrill(input.drill, input.guests ?? {}, { state, timezone });
  const guests = Object.entries(input.guests ?? {}).map(([name, guest]) =>
    resolveGuest(name, state, guest, { ...builtIn, ...input.defaults, ...guest }, drill.schedule !== null),
  );
  return {
    file,
    state,
    concurrency: input.concurrency ?? 2,
    largestSnapshotBytes: input.largestSnapshot ?? defaultLargestSnapshotBytes,
    alerts: (input.alerts ?? []).map(resolveAlert),
    control: { group: input.control?.group ?? null },
    dashboard: resolveDashboard(input.dashboard, join(state, 'dashboard.token')),
    drill,
    verify: resolveVerify(input.verify, timezone),
    stores: recordByName(stores),
    guests: recordByName(guests),
    links: [],
  };
}

type BuiltIn = Required<Omit<GuestInput, 'mconsole' | 'disks' | 'user' | 'notify' | 'notifyOwner' | 'drill'>>;

function builtInSettings(stores: StoreConfig[]): BuiltIn {
  return {
    // More than one store and none named is a problem that was reported: here it is the only one.
    store: [stores[0]?.name ?? ''],
    schedule: null,
    timezone: Intl.DateTimeFormat().resolvedOptions().timeZone,
    catchUp: true,
    jitter: 0,
    pauseBudget: 5000,
    require: 'crash',
    agent: 'auto',
    capture: 'auto',
    precopyRate: null,
    precopyTracker: 'auto',
    pauseTarget: 5,
    keep: {},
    allowSmp: false,
    syncTries: 5,
    settleTimeout: 2000,
    freezeTimeout: 10_000,
    hooks: {},
    requests: [],
    labels: {},
  };
}

function resolveGuest(
  name: string,
  state: string,
  guest: GuestInput,
  settings: BuiltIn & GuestInput,
  isDrilled: boolean,
): GuestConfig {
  const { disks: _, drill: __, store, schedule, jitter, hooks, ...others } = settings;
  const [firstStore, ...otherStores] = store;
  const { pauseBudget, pauseTarget, precopyRate, settleTimeout, freezeTimeout, ...sameNames } = others;
  return {
    name,
    ...sameNames,
    disks: disksOf(guest),
    store: firstStore,
    otherStores,
    user: guest.user ?? null,
    notify: guest.notify ?? join(state, 'notify', `${name}.sock`),
    notifyOwner: guest.notifyOwner ?? null,
    isDrilled,
    ...(schedule === null ? {} : { schedule }),
    hooks: resolveHooks(hooks),
    jitterMs: jitter,
    pauseBudgetMs: pauseBudget,
    pauseTargetMs: pauseTarget,
    precopyBytesPerSecond: precopyRate,
    settleTimeoutMs: settleTimeout,
    freezeTimeoutMs: freezeTimeout,
  };
}

function disksOf(guest: GuestInput): DiskConfig[] {
  const numberOf = (device: string) => Number(device.slice('ubd'.length));
  return Object.entries(guest.disks)
    .map(([device, { path, backing }]) => ({ device, path, ...(backing === undefined ? {} : { backing }) }))
    .sort((a, b) => numberOf(a.device) - numberOf(b.device));
}

export function defaultState(): string {
  return process.getuid?.() === 0 ? '/var/lib/umlsnap' : join(homedir(), '.local/state/umlsnap');
}

/** Without a prototype: `guests.constructor` is a guest of that name or nothing. */
function recordByName<T extends { name: string }>(items: T[]): Record<string, T> {
  const record: Record<string, T> = Object.create(null);
  for (const item of items) record[item.name] = item;
  return record;
}
