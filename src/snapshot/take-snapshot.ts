import { setTimeout as sleep } from 'node:timers/promises';
import type { GuestConfig } from '../config/config.js';
import { explainError } from '../error-text.js';
import { withGuest } from '../guest/guest.js';
import { withGuardian } from '../pause/guardian.js';
import { leaseFile } from '../pause/lease.js';
import type { StoredBacking } from '../store/backing-files.js';
import type { Incoming } from '../store/incoming.js';
import type { Manifest } from '../store/manifest.js';
import { captureConsistently } from './capture-consistently.js';
import { draftOf, recordOf, snapshotName } from './describe-snapshot.js';
import type { PhaseJournal } from './phase-journal.js';
import type { SnapshotHistory, SnapshotStore } from './ports.js';
import { type CapturePlan, checkGuest, checkStore, planCapture } from './preflight.js';
import { type Retained, retain } from './retain.js';
import { withArmedCapture, withIncoming } from './scopes.js';
import { type SourceDisk, withSourceDisks } from './source-disks.js';

export interface SnapshotOrder {
  job: string;
  /** With what the command line changed in it. */
  config: GuestConfig;
  labels: Record<string, string>;
  pinned: boolean;
  /** Preflight only: nothing is stopped, nothing kept. */
  dryRun: boolean;
  stateDirectory: string;
  /** Aborted with the reason why the job is to be given up. */
  signal: AbortSignal;
}

export interface SnapshotPorts {
  store: SnapshotStore;
  history: SnapshotHistory;
  journal: PhaseJournal;
}

export interface SnapshotTaken {
  plan: CapturePlan;
  /** null: it was a dry run. */
  manifest: Manifest | null;
  /** How often the guest was stopped to find it clean. */
  tries: number;
  removed: Retained['removed'];
  warnings: string[];
}

/**
 * The sequence: one backup of one guest. Every scope undoes its own part when anything inside it fails, innermost first:
 * the guest is resumed, then the capture is ended, then the incoming copy is thrown away.
 */
export async function takeSnapshot(order: SnapshotOrder, ports: SnapshotPorts): Promise<SnapshotTaken> {
  const { config, job, signal } = order;
  const { store, history, journal } = ports;
  await journal.enter('preflight');
  return await withGuest(config, (guest) =>
    withSourceDisks(config, async (disks) => {
      const { kernel, processes, cpus } = await checkGuest(guest, disks);
      await checkStore(store, history);
      await discardLeftovers(store, config.name);
      return await withIncoming(store, config.name, job, async (incoming) => {
        const plan = await planCapture(config, disks, store, incoming, signal);
        const { method } = plan;
        journal.note({ kernel, ...plan });
        if (order.dryRun) return { plan, manifest: null, tries: 0, removed: [], warnings: plan.warnings };

        await journal.enter('precopy');
        const backings = await storeBackings(store, incoming, disks, signal);
        await untilNameIsFree(store, config.name, signal);

        const guarded = {
          guest: config.name,
          socketPath: guest.socketPath,
          main: processes.main,
          leaseFile: leaseFile(order.stateDirectory, config.name),
        };
        const captured = await withArmedCapture(method, config.name, disks, incoming, (capture) =>
          withGuardian(guarded, (guardian) =>
            // quiesce, stop, sync, capture, go
            captureConsistently({
              ...{ job, config, guest, processes, disks, signal, isSmp: cpus > 1 },
              ...{ capture, guarded, guardian, history, journal },
            }),
          ),
        );

        await journal.enter('seal');
        const { labels, pinned } = order;
        const facts = { guest: config.name, job, kernel, method, labels, pinned, captured, disks, backings };
        const manifest = await store.seal(incoming, draftOf(facts), signal);
        // The store is the truth and its index follows: the row MUST NOT come before the snapshot is durable.
        await history.recordSnapshot(recordOf(store.name, manifest));

        await journal.enter('retain');
        const { removed, warnings } = await retainOrWarn(config, ports);
        await journal.finish('done');
        return { plan, manifest, tries: captured.tries, removed, warnings: [...plan.warnings, ...warnings] };
      });
    }),
  );
}

/** The guest's lock is held: whatever is incoming for it was left by a job that died. */
async function discardLeftovers(store: SnapshotStore, guest: string): Promise<void> {
  const leftovers = (await store.incomings()).filter((incoming) => incoming.guest === guest);
  for (const incoming of leftovers) await store.discard(incoming);
}

/** The backing files of COW disks are read-only: they are copied, once each, while the guest runs. */
async function storeBackings(
  store: SnapshotStore,
  incoming: Incoming,
  disks: SourceDisk[],
  signal: AbortSignal,
): Promise<Map<string, StoredBacking>> {
  const stored = new Map<string, StoredBacking>();
  for (const { config, backing } of disks) {
    if (!backing) continue;
    const source = { device: config.device, path: backing.path, fd: backing.handle.fd };
    stored.set(config.device, await store.storeBacking(incoming, source, signal));
  }
  return stored;
}

/** Snapshots are named by the second: two by hand within one would have the same name. */
async function untilNameIsFree(store: SnapshotStore, guest: string, signal: AbortSignal): Promise<void> {
  const taken = new Set((await store.list(guest)).map(({ snapshot }) => snapshot));
  while (taken.has(snapshotName(guest, new Date()))) await sleep(20, undefined, { signal });
}

/** The snapshot exists and is good by now: what goes wrong with older ones is a warning. */
async function retainOrWarn(
  config: GuestConfig,
  { store, history }: SnapshotPorts,
): Promise<Pick<Retained, 'removed' | 'warnings'>> {
  try {
    return await retain(config, store, history, { now: new Date() });
  } catch (error) {
    return { removed: [], warnings: [`expired snapshots could not be removed: ${explainError(error)}`] };
  }
}
