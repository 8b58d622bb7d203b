import { isIP } from 'node:net';
import { stringify } from 'yaml';
import type { AlertConfig, HooksConfig } from './alert-config.js';
import type { Config, DashboardConfig, GuestConfig, StoreConfig } from './config.js';
import type { DrillConfig, DrillSettings } from './drill-config.js';
import { exactDuration } from './duration.js';
import { isPlainObject } from './report.js';
import { exactSize } from './size.js';
import type { VerifyConfig } from './verify-config.js';

/** What is not for other eyes by its name, but for the name of a file or a command that has it, or a mere yes or no. */
const secretKey = /(?:password|passphrase|token|secret|credential)s?$/i;
const hidden = '(not shown)';

/** A copy of a config for people and programs to read: no secret of it is in there. */
export function withoutSecrets(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutSecrets);
  if (typeof value === 'string') return withoutCredentials(value);
  if (!isPlainObject(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [
      key,
      secretKey.test(key) && inner !== null && typeof inner !== 'boolean' ? hidden : withoutSecrets(inner),
    ]),
  );
}

/** `rest:https://user:password@host/` is how some programs take both. */
function withoutCredentials(text: string): string {
  return text.replace(/(\b[a-z][a-z0-9+.-]*:\/\/)[^/@\s]+@/gi, `$1${hidden}@`);
}

/** The text of a config file that comes to this config, every default filled in, but for its secrets. */
export function shownConfig(config: Config): string {
  return [
    `# ${config.file}, with every default\n`,
    stringify(withoutSecrets(writtenConfig(config)), { lineWidth: 110 }),
    ...config.links.map(({ from, to }) => `# ${from} is a link, and stands for ${to}\n`),
  ].join('');
}

/** A config as it is written, in the keys and the units of the file: read again, it comes to the same. */
export function writtenConfig(config: Config): Record<string, unknown> {
  const { state, concurrency, largestSnapshotBytes, control, dashboard, alerts, drill, verify } = config;
  return {
    state,
    concurrency,
    largestSnapshot: exactSize(largestSnapshotBytes),
    control: given(control),
    dashboard: dashboard === null ? false : writtenDashboard(dashboard),
    alerts: alerts.map(writtenAlert),
    drill: writtenDrill(drill),
    verify: writtenVerify(verify),
    stores: mapped(config.stores, writtenStore),
    guests: mapped(config.guests, (guest) => writtenGuest(guest, drill.guests[guest.name])),
  };
}

function writtenDashboard({ address, port, ...same }: DashboardConfig) {
  return { listen: `${isIP(address) === 6 ? `[${address}]` : address}:${port}`, ...same };
}

function writtenAlert(way: AlertConfig): Record<string, unknown> {
  switch (way.by) {
    case 'command':
      return { command: way.command, on: way.on };
    case 'webhook':
      return { webhook: way.address, on: way.on };
    case 'mail':
      return { mail: way.mailbox, on: way.on };
    case 'ping':
      return { ping: way.address };
  }
}

function writtenDrill({ others, guests: _, ...same }: DrillConfig) {
  return { ...same, ...writtenDrillSettings(others) };
}

function writtenDrillSettings(settings: DrillSettings) {
  const { kernel, arguments: words, memoryBytes, timeoutMs, holdMs, ...same } = settings;
  return {
    ...given({ kernel }),
    arguments: words.join(' '),
    memory: exactSize(memoryBytes),
    timeout: exactDuration(timeoutMs),
    hold: exactDuration(holdMs),
    ...same,
  };
}

function writtenVerify({ withinMs, bytesPerSecond, scratch, ...same }: VerifyConfig) {
  return { ...same, within: exactDuration(withinMs), rate: rateText(bytesPerSecond), ...given({ scratch }) };
}

function writtenStore({ name: _, ...store }: StoreConfig) {
  return given(store);
}

function writtenGuest(guest: GuestConfig, drill: DrillSettings | undefined): Record<string, unknown> {
  const {
    name: _,
    reportedConsole: __,
    disks,
    store,
    otherStores,
    user,
    notifyOwner,
    schedule,
    ...more
  } = guest;
  const { keep, hooks, jitterMs, pauseBudgetMs, pauseTargetMs, precopyBytesPerSecond, ...others } = more;
  // What `drill.schedule` says is shown there.
  const { settleTimeoutMs, freezeTimeoutMs, isDrilled: ___, ...same } = others;
  const { withinMs, ...counts } = keep;
  return {
    ...given({ user, notifyOwner }),
    disks: Object.fromEntries(
      disks.map(({ device, path, backing }) => [device, backing === undefined ? path : { path, backing }]),
    ),
    store: otherStores.length === 0 ? store : [store, ...otherStores],
    schedule: schedule ?? null,
    jitter: exactDuration(jitterMs),
    pauseBudget: exactDuration(pauseBudgetMs),
    pauseTarget: exactDuration(pauseTargetMs),
    precopyRate: rateText(precopyBytesPerSecond),
    settleTimeout: exactDuration(settleTimeoutMs),
    freezeTimeout: exactDuration(freezeTimeoutMs),
    keep: { ...counts, ...(withinMs === undefined ? {} : { within: exactDuration(withinMs) }) },
    hooks: writtenHooks(hooks),
    ...same,
    ...(drill && { drill: writtenDrillSettings(drill) }),
  };
}

function writtenHooks({ timeoutMs, ...programs }: HooksConfig) {
  return { ...given(programs), timeout: exactDuration(timeoutMs) };
}

const rateText = (bytesPerSecond: number | null) =>
  bytesPerSecond === null ? null : `${exactSize(bytesPerSecond)}/s`;

/** Without what is not set. */
function given(values: object): Record<string, unknown> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== null));
}

function mapped<T>(record: Record<string, T>, write: (value: T) => unknown): Record<string, unknown> {
  return Object.fromEntries(Object.entries(record).map(([name, value]) => [name, write(value)]));
}
