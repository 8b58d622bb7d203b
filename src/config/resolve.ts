import { homedir } from 'node:os';
import { join } from 'node:path';
import type { Config, DiskConfig, GuestConfig, StoreConfig } from './config.js';
import { resolveDashboard } from './dashboard-fields.js';
import type { ConfigInput, GuestInput } from './schema.js';

/** The config of a file that has no problems: a guest's own settings first, then `defaults`, then what is built in. */
export function resolveConfig(file: string, input: ConfigInput): Config {
  const stores = Object.entries(input.stores ?? {}).map(([name, store]): StoreConfig => ({ name, ...store }));
  const builtIn = builtInSettings(stores);
  const state = input.state ?? defaultState();
  const guests = Object.entries(input.guests ?? {}).map(([name, guest]) =>
    resolveGuest(name, state, guest, { ...builtIn, ...input.defaults, ...guest }),
  );
  return {
    file,
    state,
    concurrency: input.concurrency ?? 2,
    control: { group: input.control?.group ?? null },
    dashboard: resolveDashboard(input.dashboard, join(state, 'dashboard.token')),
    stores: recordByName(stores),
    guests: recordByName(guests),
  };
}

type BuiltIn = Required<Omit<GuestInput, 'mconsole' | 'disks' | 'notify'>>;

function builtInSettings(stores: StoreConfig[]): BuiltIn {
  return {
    // More than one store and none named is a problem that was reported: here it is the only one.
    store: stores[0]?.name ?? '',
    schedule: null,
    timezone: Intl.DateTimeFormat().resolvedOptions().timeZone,
    catchUp: true,
    jitter: 0,
    pauseBudget: 5000,
    require: 'synced',
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
    requests: [],
    labels: {},
  };
}

function resolveGuest(
  name: string,
  state: string,
  guest: GuestInput,
  settings: BuiltIn & GuestInput,
): GuestConfig {
  const { disks: _, schedule, jitter, ...others } = settings;
  const { pauseBudget, pauseTarget, precopyRate, settleTimeout, freezeTimeout, ...sameNames } = others;
  return {
    name,
    ...sameNames,
    disks: disksOf(guest),
    notify: guest.notify ?? join(state, 'notify', `${name}.sock`),
    ...(schedule === null ? {} : { schedule }),
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

function defaultState(): string {
  return process.getuid?.() === 0 ? '/var/lib/umlsnap' : join(homedir(), '.local/state/umlsnap');
}

/** Without a prototype: `guests.constructor` is a guest of that name or nothing. */
function recordByName<T extends { name: string }>(items: T[]): Record<string, T> {
  const record: Record<string, T> = Object.create(null);
  for (const item of items) record[item.name] = item;
  return record;
}
