import { backup } from '../../jobs/backup.js';
import { drillFound, findDrilled } from '../../jobs/drill.js';
import { prune } from '../../jobs/prune.js';
import { verify } from '../../jobs/verify.js';
import type { Config, GuestConfig } from '../config/config.js';
import { guestNamed } from '../config/guest-named.js';
import type { CarriedCommand, Work } from '../control/request-dispatcher.js';
import { everyStoreOf, type GuestStores } from '../copies/guest-stores.js';
import { type ExitCode, exitCodes } from '../exit-codes.js';
import type { SqliteHistory } from '../history/sqlite-history.js';
import { ProgressReporter } from '../job/backup-progress.js';
import { requireKnownGuest } from '../job/known-guest.js';
import { exitCodeOfSummary, type JobSummary } from '../job/recorded-job.js';
import { withSnapshotOptions } from '../job/with-snapshot-options.js';
import type { NotificationSource } from '../mconsole/notify-listener.js';
import type { VerifyProgress } from '../verify/verify-tally.js';
import { guestOfScope, type VerifiableStore, type VerifyScope } from '../verify/verify-targets.js';
import { guestStatus } from './guest-status.js';

export interface CommandDeps {
  config: Config;
  stateDirectory: string;
  history: SqliteHistory;
  stores: VerifiableStore[];
  isDrilled(guest: string): boolean;
  /** @throws NoSuchStore */
  storesOf(guest: GuestConfig): GuestStores;
  /** Whoever listens to this guest already. */
  notificationsOf(guest: string): Promise<NotificationSource | undefined>;
  /** Nothing is removed, whatever the keep rules say. */
  keepsAll: boolean;
}

/**
 * Does what was asked of a daemon, by the same jobs, locks and records as a command that is run by hand.
 * @returns the exit code that such a command would have
 * @throws what such a command tells as an error
 */
export async function executeCommand(
  command: CarriedCommand,
  deps: CommandDeps,
  work: Work,
): Promise<ExitCode> {
  switch (command.type) {
    case 'snapshot':
      return await takeSnapshot(command, deps, work);
    case 'verify':
      return await runVerify(scopeOf(command), deps, work);
    case 'drill':
      return await drillOne(command, deps, work);
    case 'prune':
      return await pruneAll(guestsOf(deps.config, command.guest), command, deps, work);
    case 'status': {
      const now = new Date();
      const { config, history, notificationsOf } = deps;
      const looks = guestsOf(config, command.guest).map(async (guest) => {
        const source = (await notificationsOf(guest.name)) ?? null;
        return await guestStatus(guest, { config, history, source }, now);
      });
      for (const status of await Promise.all(looks)) work.put({ type: 'guest', ...status });
      return exitCodes.done;
    }
  }
}

async function takeSnapshot(
  { guest, options }: Extract<CarriedCommand, { type: 'snapshot' }>,
  { config, history, storesOf, keepsAll, notificationsOf }: CommandDeps,
  work: Work,
): Promise<ExitCode> {
  const order = withSnapshotOptions(withKeepAll(guestNamed(config, guest), keepsAll), options);
  const { signal } = work;
  const kind = order.dryRun ? 'dry-run' : 'backup';
  const onJob = (job: string) => work.onJob({ job, kind, guest, trigger: 'request' });
  const { onPhase, onProgress, onFill } = new ProgressReporter(guest, (progress) => work.publish(progress));
  const notifications = () => notificationsOf(guest);
  const summary = await backup(
    { ...order, trigger: 'request', signal, onJob, onPhase, onProgress, onFill },
    { stateDirectory: config.state, stores: storesOf(order.config), history, notifications },
  );
  return put(summary, work);
}

async function runVerify(scope: VerifyScope, deps: CommandDeps, work: Work): Promise<ExitCode> {
  if (scope.of === 'guest' && scope.guest !== null) await requireKnownGuest(scope.guest, deps);
  const { signal } = work;
  const onProgress = (progress: VerifyProgress) => work.publish(progress);
  const onJob = (job: string) =>
    work.onJob({ job, kind: 'verify', guest: guestOfScope(scope), trigger: 'request' });
  const origin = { trigger: 'request' as const, onJob };
  return put(await verify(scope, deps, { signal, onProgress }, origin), work);
}

/** Also of a guest that the config no longer has. */
function scopeOf(command: Extract<CarriedCommand, { type: 'verify' }>): VerifyScope {
  if ('snapshot' in command) return { of: 'snapshot', snapshot: command.snapshot, store: command.store };
  return { of: 'guest', guest: command.guest };
}

/** Of several that are asked for at once, one is drilled after the other. */
async function drillOne(
  { snapshot: name, store }: Extract<CarriedCommand, { type: 'drill' }>,
  deps: CommandDeps,
  work: Work,
): Promise<ExitCode> {
  const { config, history } = deps;
  const found = await findDrilled(deps, { name, store });
  const { guest } = found.stored;
  const onJob = (job: string) => work.onJob({ job, kind: 'drill', guest, trigger: 'request' });
  const order = { wait: true, signal: work.signal };
  return put(
    await drillFound(found, { config: config.drill, history }, order, { trigger: 'request', onJob }),
    work,
  );
}

/** One guest after the other, as far as it goes: what was done before a failure is told all the same. */
async function pruneAll(
  guests: GuestConfig[],
  { dryRun, clockIsRight = false }: { dryRun: boolean; clockIsRight?: boolean },
  { config, history, storesOf }: CommandDeps,
  work: Work,
): Promise<ExitCode> {
  let worst: ExitCode = exitCodes.done;
  for (const guest of guests) {
    work.signal.throwIfAborted();
    const onJob = (job: string) => work.onJob({ job, kind: 'prune', guest: guest.name, trigger: 'request' });
    const deps = { stateDirectory: config.state, history, stores: everyStoreOf(storesOf(guest)) };
    const code = put(await prune(guest, { dryRun, clockIsRight }, deps, { trigger: 'request', onJob }), work);
    if (code !== exitCodes.done) worst = code;
  }
  return worst;
}

/** The config of a guest, for a daemon that may have been told to keep all snapshots. */
export function withKeepAll(config: GuestConfig, keepsAll: boolean): GuestConfig {
  return keepsAll ? { ...config, keep: {} } : config;
}

function guestsOf(config: Config, guest: string | null): GuestConfig[] {
  return guest === null ? Object.values(config.guests) : [guestNamed(config, guest)];
}

function put(summary: JobSummary, work: Work): ExitCode {
  work.put(summary);
  return exitCodeOfSummary(summary);
}
