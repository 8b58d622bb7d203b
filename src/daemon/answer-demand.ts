import type { Config, GuestConfig } from '../config/config.js';
import { guestNamed } from '../config/guest-named.js';
import type { CarriedDemand, Work } from '../control/request-desk.js';
import { type ExitCode, exitCodes } from '../exit-codes.js';
import type { SqliteHistory } from '../history/sqlite-history.js';
import type { NotificationSource } from '../mconsole/notify-listener.js';
import { backup } from '../../jobs/backup.js';
import { ProgressTeller } from '../job/backup-progress.js';
import { drillFound, findDrilled } from '../../jobs/drill.js';
import { guestStatus } from './guest-status.js';
import { everyStoreOf, type GuestStores } from '../copies/guest-stores.js';
import { requireKnownGuest } from '../job/known-guest.js';
import { prune } from '../../jobs/prune.js';
import { exitCodeOfSummary, type JobSummary } from '../job/recorded-job.js';
import { verify } from '../../jobs/verify.js';
import type { VerifyProgress } from '../verify/verify-tally.js';
import { guestOfWish, type VerifiableStore, type VerifyWish } from '../verify/verify-targets.js';
import { withSnapshotOptions } from '../job/with-snapshot-options.js';

export interface DemandHouse {
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
export async function answerDemand(demand: CarriedDemand, house: DemandHouse, work: Work): Promise<ExitCode> {
  switch (demand.type) {
    case 'snapshot':
      return await takeSnapshot(demand, house, work);
    case 'verify':
      return await verifyWished(wishOf(demand), house, work);
    case 'drill':
      return await drillOne(demand, house, work);
    case 'prune':
      return await pruneAll(guestsOf(house.config, demand.guest), demand, house, work);
    case 'status': {
      const now = new Date();
      const { config, history, notificationsOf } = house;
      const looks = guestsOf(config, demand.guest).map(async (guest) => {
        const source = (await notificationsOf(guest.name)) ?? null;
        return await guestStatus(guest, { config, history, source }, now);
      });
      for (const status of await Promise.all(looks)) work.put({ type: 'guest', ...status });
      return exitCodes.done;
    }
  }
}

async function takeSnapshot(
  { guest, options }: Extract<CarriedDemand, { type: 'snapshot' }>,
  { config, history, storesOf, keepsAll, notificationsOf }: DemandHouse,
  work: Work,
): Promise<ExitCode> {
  const order = withSnapshotOptions(keeping(guestNamed(config, guest), keepsAll), options);
  const { signal } = work;
  const kind = order.dryRun ? 'dry-run' : 'backup';
  const onJob = (job: string) => work.onJob({ job, kind, guest, trigger: 'request' });
  const { onPhase, onProgress, onFill } = new ProgressTeller(guest, (progress) => work.publish(progress));
  const notifications = () => notificationsOf(guest);
  const summary = await backup(
    { ...order, trigger: 'request', signal, onJob, onPhase, onProgress, onFill },
    { stateDirectory: config.state, stores: storesOf(order.config), history, notifications },
  );
  return put(summary, work);
}

async function verifyWished(wish: VerifyWish, house: DemandHouse, work: Work): Promise<ExitCode> {
  if (wish.of === 'guest' && wish.guest !== null) await requireKnownGuest(wish.guest, house);
  const { signal } = work;
  const onProgress = (progress: VerifyProgress) => work.publish(progress);
  const onJob = (job: string) =>
    work.onJob({ job, kind: 'verify', guest: guestOfWish(wish), trigger: 'request' });
  const origin = { trigger: 'request' as const, onJob };
  return put(await verify(wish, house, { signal, onProgress }, origin), work);
}

/** Also of a guest that the config no longer has. */
function wishOf(demand: Extract<CarriedDemand, { type: 'verify' }>): VerifyWish {
  if ('snapshot' in demand) return { of: 'snapshot', snapshot: demand.snapshot, store: demand.store };
  return { of: 'guest', guest: demand.guest };
}

/** Of several that are asked for at once, one is drilled after the other. */
async function drillOne(
  { snapshot: name, store }: Extract<CarriedDemand, { type: 'drill' }>,
  house: DemandHouse,
  work: Work,
): Promise<ExitCode> {
  const { config, history } = house;
  const found = await findDrilled(house, { name, store });
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
  { config, history, storesOf }: DemandHouse,
  work: Work,
): Promise<ExitCode> {
  let worst: ExitCode = exitCodes.done;
  for (const guest of guests) {
    work.signal.throwIfAborted();
    const onJob = (job: string) => work.onJob({ job, kind: 'prune', guest: guest.name, trigger: 'request' });
    const house = { stateDirectory: config.state, history, stores: everyStoreOf(storesOf(guest)) };
    const code = put(
      await prune(guest, { dryRun, clockIsRight }, house, { trigger: 'request', onJob }),
      work,
    );
    if (code !== exitCodes.done) worst = code;
  }
  return worst;
}

/** The config of a guest, for a daemon that may have been told to keep all snapshots. */
export function keeping(config: GuestConfig, keepsAll: boolean): GuestConfig {
  return keepsAll ? { ...config, keep: {} } : config;
}

function guestsOf(config: Config, guest: string | null): GuestConfig[] {
  return guest === null ? Object.values(config.guests) : [guestNamed(config, guest)];
}

function put(summary: JobSummary, work: Work): ExitCode {
  work.put(summary);
  return exitCodeOfSummary(summary);
}
