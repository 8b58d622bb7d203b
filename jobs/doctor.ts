import type { Config, GuestConfig } from '../src/config/config.js';
import { type CaptureLook, tracingNeedOf } from '../src/doctor/check-capture.js';
import { checkClock } from '../src/doctor/check-clock.js';
import { checkDaemon, type DaemonLook } from '../src/doctor/check-daemon.js';
import { checkGuardian } from '../src/doctor/check-guardian.js';
import { type CheckableHistory, checkHistory } from '../src/doctor/check-history.js';
import { checkOwners } from '../src/doctor/check-owners.js';
import { checkNamedPrograms, checkPrograms } from '../src/doctor/check-programs.js';
import { checkRights, lookAtRights } from '../src/doctor/check-rights.js';
import { checkRoom } from '../src/doctor/check-room.js';
import { checkState } from '../src/doctor/check-state.js';
import type { RoundTrips } from '../src/doctor/check-stop-and-go.js';
import { type CheckableStore, checkStore } from '../src/doctor/check-store.js';
import { checkSyslog } from '../src/doctor/check-syslog.js';
import { checkTimezone } from '../src/doctor/check-timezone.js';
import { checkTracing, lookAtTracing } from '../src/doctor/check-tracing.js';
import { type ExaminedGuest, examineGuest } from '../src/doctor/examine-guest.js';
import {
  orphanedFreezes,
  orphanedJobs,
  orphanedLeases,
  orphanedScratch,
  orphanedSockets,
  orphanedTraceInstances,
} from '../src/doctor/find-orphans.js';
import type { Finding } from '../src/doctor/finding.js';
import { judgeResults, type ResultsHistory } from '../src/doctor/judge-results.js';
import { nearestDirectory } from '../src/doctor/nearest-directory.js';
import { neededRoom, type RoomUser } from '../src/doctor/needed-room.js';
import { checkOrphans, type Orphan } from '../src/doctor/orphans.js';
import { runCheck } from '../src/doctor/run-check.js';
import { isHistoryFailure, UmlsnapError } from '../src/errors.js';
import { findGuestConsole } from '../src/guest/guest-console.js';
import type { JobRecord, SnapshotRecord } from '../src/history/records.js';
import { storeLocks } from '../src/job/guest-locks.js';
import { holderOf } from '../src/locks/exclusive-lock.js';
import { readProcessStat } from '../src/process-identity.js';
import { type OwnershipHistory, ownershipIn } from '../src/snapshot/ownership.js';
import type { FoundIncoming } from '../src/store/incoming.js';
import { Findings, noFindings } from '../src/store/soundness.js';
import { freeRoom } from '../src/store/store-failure.js';
import type { StoredSnapshot } from '../src/store/stored-snapshots.js';

/** Only read: what is found is put right by `recover`, or by a person. */
export interface DoctorHistory extends CheckableHistory, ResultsHistory, OwnershipHistory {
  runningJobs(): Promise<JobRecord[]>;
  snapshots(filter: { guest?: string; store?: string; own?: true }): Promise<SnapshotRecord[]>;
  lastSlot(guest: string): Promise<string | null>;
  storeId(store: string): Promise<string | null>;
}

export interface DoctorStore extends CheckableStore {
  list(guest?: string): Promise<StoredSnapshot[]>;
  readonly type: 'directory' | 'tar' | 'restic';
  /** Not of one that clears its leftovers away by itself. */
  incomings?(): Promise<FoundIncoming[]>;
}

export interface DoctorDeps {
  config: Config;
  /** null: there is none yet; an error in its place says why it can't be used. */
  history: DoctorHistory | UmlsnapError | null;
  /** Those of every kind, and the directories in which snapshots wait for archives. */
  stores: readonly DoctorStore[];
  /** The one that this guest is captured into. */
  capturedInto(guest: GuestConfig): DoctorStore;
  daemon: DaemonLook;
  /** Whether an agent answers in each guest, as a daemon of this config knows; null: there is no such daemon. */
  agentsByDaemon: ReadonlyMap<string, boolean | null> | null;
  /** Stops and resumes a guest; null: no guest is to be stopped. */
  tryRoundTrips: ((guest: GuestConfig) => Promise<RoundTrips>) | null;
}

/**
 * Looks whether backups will work, on this host and for these guests, and tells of each thing what it means and how to mend
 * it. Changes nothing, but for the two moments that `tryRoundTrips` stops a guest.
 */
export async function doctor(deps: DoctorDeps, guests: readonly GuestConfig[]): Promise<Finding[]> {
  const now = new Date();
  const { config } = deps;
  const host = [
    await runCheck('rights', null, () => checkRights(lookAtRights(guests))),
    await runCheck('state', null, () => checkState(config.state)),
    await runCheck('history', null, () => checkHistory(deps.history)),
    await runCheck('clock', null, async () => checkClock(now, await newestRecord(deps))),
    await runCheck('timezone', null, () => checkTimezone(timezonesOf(guests))),
    checkDaemon(deps.daemon),
    checkPrograms(config),
    checkNamedPrograms(config),
    await runCheck('syslog', null, () => checkSyslog()),
    await runCheck('orphans', null, async () => checkOrphans(await findOrphans(deps, now))),
  ];
  const tracing = await lookAtTracing();
  const examined = await examineAll(guests, async (guest) =>
    examineGuest({
      ...{ config: guest, stateDirectory: config.state, store: deps.capturedInto(guest), tracing, now },
      lastSlot: await lastSlotOf(deps, guest.name),
      results: await resultsOf(deps, guest, now),
      agentByDaemon: deps.agentsByDaemon?.get(guest.name),
      tryRoundTrips: deps.tryRoundTrips,
    }),
  );
  const needs = examined.flatMap(({ guest, capture }) => (capture ? [tracingNeedOf(guest, capture)] : []));
  host.push(checkTracing(tracing, needs), ...(await tryGuardian(config, examined)));
  const stores = await checkStores(deps, examined, now);
  return [...host, ...stores, ...examined.flatMap(({ findings }) => findings)];
}

type Examined = ExaminedGuest & { guest: GuestConfig };

/** A guest that does not answer takes seconds, and a process is started for some looks. */
const atOnce = 4;

async function examineAll(
  guests: readonly GuestConfig[],
  examine: (guest: GuestConfig) => Promise<ExaminedGuest>,
): Promise<Examined[]> {
  const examined = new Map<string, Examined>();
  const left = guests.values();
  const work = async () => {
    for (const guest of left) examined.set(guest.name, { ...(await examine(guest)), guest });
  };
  await Promise.all(Array.from({ length: atOnce }, work));
  return guests.flatMap(({ name }) => examined.get(name) ?? []);
}

/** With the first guest that runs: a guardian is armed for a guest, and does not come up without one. */
async function tryGuardian({ state }: Config, examined: readonly Examined[]): Promise<Finding[]> {
  const running = examined.find(({ pid }) => pid !== null);
  const main = running?.pid == null ? undefined : readProcessStat(running.pid);
  if (!running || !main) return [];
  const { guest } = running;
  return [
    await runCheck('guardian', null, async () =>
      checkGuardian({
        ...{ guest: guest.name, socketPath: await findGuestConsole(guest), stateDirectory: state },
        main: { pid: main.pid, startTicks: main.startTicks },
      }),
    ),
  ];
}

async function checkStores(deps: DoctorDeps, examined: readonly Examined[], now: Date): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const store of deps.stores) {
    const { name, path } = store;
    const found = await runCheck('store', name, async () =>
      checkStore(store, (await usable(deps)?.storeId(name)) ?? null),
    );
    const isCapturedInto = (guest: GuestConfig) => deps.capturedInto(guest).name === name;
    const users = examined.filter(
      ({ guest }) => isCapturedInto(guest) || [guest.store, ...guest.otherStores].includes(name),
    );
    const isFirst = users.some(({ guest }) => isCapturedInto(guest));
    findings.push(isFirst ? found : ofFilled(found));
    if (found.level === 'ok') findings.push(...(await ownersIn(store, examined, usable(deps))));
    // What room there is in a repository nobody can tell us.
    if (found.level !== 'ok' || users.length === 0 || store.type === 'restic') continue;
    findings.push(
      await runCheck('room', name, async () => {
        const snapshots = (await usable(deps)?.snapshots({ store: name, own: true })) ?? [];
        const findings = new Findings((await usable(deps)?.badFindings({ store: name })) ?? noFindings);
        const needed = users.map(({ guest, capture }) =>
          neededRoom(roomUserOf(guest, capture, isCapturedInto(guest), snapshots, findings), now),
        );
        const free = await freeRoom({ name, path: nearestDirectory(path) });
        return checkRoom(name, free, needed, isFirst);
      }),
    );
  }
  return findings;
}

/** No backup fails by a store that snapshots are only carried into. */
function ofFilled(found: Finding): Finding {
  if (found.level !== 'critical') return found;
  return { ...found, level: 'warning', means: 'The next snapshot gets no copy there.' };
}

/** Of a store that can't be read its own check tells, or the next look. */
async function ownersIn(
  store: DoctorStore,
  examined: readonly Examined[],
  history: DoctorHistory | null,
): Promise<Finding[]> {
  if (history === null || !(await store.isMounted(await history.storeId(store.name)))) return [];
  const guests = new Set(examined.map(({ guest }) => guest.name));
  try {
    const listed = (await store.list()).filter(({ guest }) => guests.has(guest));
    const ownership = await ownershipIn(store.name, listed, history);
    return checkOwners(store.name, listed.map(ownership));
  } catch (error) {
    return [await runCheck('owners', store.name, () => Promise.reject(error))];
  }
}

/** What is only carried into a store takes there what those before it did, or at most what the disks hold. */
function roomUserOf(
  { name: guest, schedule, timezone, keep, isDrilled }: GuestConfig,
  look: CaptureLook | null,
  isCapturedInto: boolean,
  snapshots: readonly SnapshotRecord[],
  findings: Findings,
): RoomUser {
  const own = snapshots.filter((snapshot) => snapshot.guest === guest);
  const capture = isCapturedInto || own.length === 0 ? look : null;
  return {
    ...{ guest, schedule, timezone, keep },
    snapshots: own.map(({ snapshot, job, store, takenAt, pinned, storedBytes, method }) => ({
      ...{ snapshot, takenAt, pinned, storedBytes },
      good: findings.soundnessOf(store, { snapshot, job }, isDrilled).type === 'sound',
      sharesBlocks: method === 'reflink',
    })),
    capture: capture && {
      dataBytes: capture.dataBytes,
      sharesBlocks: isCapturedInto && capture.reflink.every(({ works }) => works),
    },
  };
}

/** Whether something in a store is a leftover is known by its guest's lock only. */
async function findOrphans(deps: DoctorDeps, now: Date): Promise<Orphan[]> {
  const { config, daemon } = deps;
  const guests = Object.keys(config.guests);
  return [
    ...(await orphanedLeases(config.state)),
    ...(await orphanedFreezes(config.state)),
    ...orphanedJobs((await usable(deps)?.runningJobs()) ?? []),
    ...(await orphanedIncomings(deps)),
    ...orphanedTraceInstances(),
    ...orphanedSockets(config.state, { daemonRuns: daemon.isRunning, guests }),
    ...orphanedScratch(now),
  ];
}

async function orphanedIncomings(deps: DoctorDeps): Promise<Orphan[]> {
  const { config } = deps;
  const orphans: Orphan[] = [];
  for (const store of deps.stores) {
    for (const { guest, directory } of await incomingsOf(deps, store)) {
      if ((await holderOf(...(await storeLocks(config.state, store.path, guest)))) !== undefined) continue;
      const what = `what a job has left at ${directory}`;
      orphans.push({ kind: 'incoming', what, holdsGuest: false });
    }
  }
  return orphans;
}

/** Of a store that is away the check of the store tells. */
async function incomingsOf(deps: DoctorDeps, store: DoctorStore): Promise<FoundIncoming[]> {
  try {
    const known = (await usable(deps)?.storeId(store.name)) ?? null;
    return (await store.isMounted(known)) ? ((await store.incomings?.()) ?? []) : [];
  } catch (error) {
    if (!(error instanceof UmlsnapError)) throw error;
    return [];
  }
}

function usable({ history }: DoctorDeps): DoctorHistory | null {
  return history instanceof UmlsnapError ? null : history;
}

async function newestRecord(deps: DoctorDeps): Promise<string | null> {
  const history = usable(deps);
  if (!history) return null;
  const jobs = (await history.jobs({ limit: 1 })).map(({ startedAt }) => startedAt);
  const snapshots = (await history.snapshots({ own: true })).map(({ takenAt }) => takenAt);
  return [...jobs, ...snapshots].sort().at(-1) ?? null;
}

async function lastSlotOf(deps: DoctorDeps, guest: string): Promise<Date | null> {
  const slot = await unlessDamaged(usable(deps)?.lastSlot(guest));
  return slot ? new Date(slot) : null;
}

async function resultsOf(deps: DoctorDeps, guest: GuestConfig, now: Date): Promise<Finding[]> {
  if (deps.history instanceof UmlsnapError) return [];
  return (await unlessDamaged(judgeResults(guest, deps.config, deps.history, now))) ?? [];
}

/** Of a history that is damaged its own check tells. */
async function unlessDamaged<T>(asked: Promise<T> | undefined): Promise<T | null> {
  try {
    return (await asked) ?? null;
  } catch (error) {
    if (!isHistoryFailure(error)) throw error;
    return null;
  }
}

function timezonesOf(guests: readonly GuestConfig[]) {
  return {
    environment: process.env.TZ,
    system: Intl.DateTimeFormat().resolvedOptions().timeZone,
    scheduled: guests.flatMap(({ name, schedule, timezone }) =>
      schedule === undefined ? [] : [{ guest: name, timezone }],
    ),
  };
}
