import { setTimeout as sleep } from 'node:timers/promises';
import type { CaptureFacts } from '../capture/capture.js';
import type { Guest } from '../guest/guest.js';
import type { GuestProcesses } from '../guest/guest-processes.js';
import { freezeLeaseFile } from '../pause/freeze-lease.js';
import { withGuardian } from '../pause/guardian.js';
import { CaptureProcess, type CaptureRequest } from '../pause/capture-process.js';
import { leaseFile } from '../pause/lease.js';
import type { StoredBacking } from '../store/backing-files.js';
import type { Incoming } from '../store/incoming.js';
import { type Captured, captureConsistently } from './capture-consistently.js';
import { snapshotName } from './describe-snapshot.js';
import type { Freezing } from './freezing.js';
import type { SnapshotStore } from './ports.js';
import { runningFigures } from './precopy-facts.js';
import type { CapturePlan } from './preflight.js';
import { undoing } from './scopes.js';
import type { SnapshotOrder, SnapshotPorts } from './snapshot-order.js';
import { fileNameOf, type SourceDisk } from './source-disks.js';

/** A guest that was found fit to be backed up, and a place for its copy. */
export interface Ready {
  guest: Guest;
  disks: SourceDisk[];
  processes: GuestProcesses;
  isSmp: boolean;
  incoming: Incoming;
  plan: CapturePlan;
  freezing: Freezing;
}

export interface CopiedDisks {
  captured: Captured;
  precopy: CaptureFacts | null;
  backings: Map<string, StoredBacking>;
}

/** Phases precopy to thaw. */
export async function copyDisks(
  order: SnapshotOrder,
  ports: SnapshotPorts,
  ready: Ready,
): Promise<CopiedDisks> {
  const { config, job, stateDirectory, signal } = order;
  const { store, history, journal } = ports;
  const { guest, disks, processes, isSmp, incoming, freezing } = ready;
  await journal.enter('precopy');
  const backings = await storeBackings(store, incoming, disks, signal);
  await untilNameIsFree(store, config.name, signal);
  const guarded = {
    guest: config.name,
    socketPath: guest.socketPath,
    main: processes.main,
    leaseFile: leaseFile(stateDirectory, config.name),
  };
  const capture = await CaptureProcess.arm(captureOf(order, ready));
  return await undoing(
    async () => {
      journal.note(runningFigures(capture.facts));
      const captured = await withGuardian(guarded, capture.page, (guardian) =>
        // sync, freeze, stop, check, capture, go, thaw
        captureConsistently({
          ...{ job, config, guest, processes, disks, signal, isSmp },
          ...{ capture, guarded, guardian, history, journal, freezing },
          freezeLease: freezeLeaseFile(stateDirectory, config.name),
        }),
      );
      return { captured, precopy: capture.facts?.tracker ? capture.facts : null, backings };
    },
    () => capture.dispose(),
  );
}

function captureOf(
  { config, onProgress, signal }: SnapshotOrder,
  { plan, disks, processes, incoming }: Ready,
): CaptureRequest {
  const { precopyBytesPerSecond, pauseTargetMs, pauseBudgetMs, precopyTracker } = config;
  const { method, tracker } = plan;
  return {
    ...{ guest: config.name, method, onProgress, signal, budgetMs: pauseBudgetMs },
    disks: disks.map((disk) => ({
      device: disk.config.device,
      sourceFd: disk.image.handle.fd,
      sizeBytes: disk.image.stamp.sizeBytes,
      targetPath: incoming.pathOf(fileNameOf(disk.config)),
    })),
    tracing:
      tracker === 'traced'
        ? {
            writers: processes.ioTasks,
            guestPids: processes.holders.map(({ pid }) => pid),
            mayDoWithout: method === 'reflink' || precopyTracker === 'auto',
          }
        : null,
    bytesPerSecond: precopyBytesPerSecond,
    pauseTargetMs: Math.min(pauseTargetMs, pauseBudgetMs),
  };
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
