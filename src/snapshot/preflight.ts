import type { CaptureMethod } from '../capture/capture.js';
import { type ChosenCapture, chooseCapture } from '../capture/choose-capture.js';
import { measureCopyRate } from '../capture/measure-copy-rate.js';
import { probeReflink } from '../capture/probe-reflink.js';
import { probeTracing } from '../capture/tracing/probe-tracing.js';
import type { GuestConfig } from '../config/config.js';
import { UmlsnapError } from '../errors.js';
import type { Guest } from '../guest/guest.js';
import { checkDiskClaim } from '../guest/guest-disks.js';
import { findGuestProcesses, type GuestProcesses } from '../guest/guest-processes.js';
import { requireOneUser } from '../guest/guest-user.js';
import { probeStopped } from '../guest/stop-probe.js';
import { countDataBytes } from '../image/sparse-copy.js';
import type { Incoming } from '../store/incoming.js';
import { requireNotTooLarge } from '../store/largest-snapshot.js';
import { roomForSnapshot } from '../store/store-failure.js';
import type { SnapshotHistory, SnapshotStore } from './ports.js';
import type { SourceDisk } from './source-disks.js';

export interface CheckedGuest {
  cpus: number;
  /** What the guest answers to `version`. */
  kernel: string;
  processes: GuestProcesses;
}

/**
 * Everything that must be true of a guest before it is touched.
 * @throws GuestNotAnswering, GuestProcessNotFound, GuestOfSeveralUsers, NoSuchUser, GuestAlreadyStopped, GuestHasSeveralCpus, SysrqDisabled, DiskMismatch
 */
export async function checkGuest(guest: Guest, disks: SourceDisk[]): Promise<CheckedGuest> {
  const { name, config } = guest;
  const kernel = await guest.version();
  const files = await Promise.all(disks.map((disk) => disk.image.handle.stat()));
  const processes = await findGuestProcesses(files);
  if (!processes || processes.ioTasks.length === 0) {
    throw new UmlsnapError('GuestProcessNotFound', { guest: name, diskPath: config.disks[0]?.path ?? '' });
  }
  requireOneUser(
    guest,
    disks.map(({ image }) => image),
    processes.main.pid,
  );
  if (probeStopped(processes.main) === 'stopped')
    throw new UmlsnapError('GuestAlreadyStopped', { guest: name });
  const cpus = await guest.cpuCount();
  // What its other CPUs write during the capture makes it `crash` at best.
  if (cpus > 1 && !(config.allowSmp && config.require === 'crash'))
    throw new UmlsnapError('GuestHasSeveralCpus', { guest: name, cpus });
  await checkSysrq(guest);
  for (const disk of disks) await checkDisk(guest, processes, disk);
  return { kernel, processes, cpus };
}

/** Bit of kernel.sysrq that allows sync (uml-facts §2). */
const sysrqSyncBit = 16;

async function checkSysrq(guest: Guest): Promise<void> {
  const setting = await guest.sysrqSetting();
  const mask = Number(setting);
  if (mask === 1 || (mask & sysrqSyncBit) !== 0) return;
  throw new UmlsnapError('SysrqDisabled', { guest: guest.name, setting });
}

async function checkDisk(guest: Guest, processes: GuestProcesses, disk: SourceDisk): Promise<void> {
  const backing = await disk.backing?.handle.stat();
  await checkDiskClaim(processes.main, {
    guest: guest.name,
    disk: disk.config,
    reported: await guest.diskOf(disk.config.device),
    file: await disk.image.handle.stat(),
    ...(backing && { backing }),
  });
}

/** Proves that the store is the one we know, and there. @throws StoreNotMounted, StoreUnusable */
export async function checkStore(
  store: Pick<SnapshotStore, 'name' | 'prepare'>,
  history: Pick<SnapshotHistory, 'storeId' | 'rememberStore'>,
): Promise<void> {
  const known = await history.storeId(store.name);
  const { id } = await store.prepare(known);
  // After the marker is durable: an id that is known MUST have a store that carries it.
  if (known === null) await history.rememberStore(store.name, id);
}

/** A snapshot that could not be restored is not taken. @throws TooLarge */
export async function checkSizes(guest: string, disks: SourceDisk[], store: SnapshotStore): Promise<void> {
  const sizes = new Map<string, number>();
  for (const { config, image, backing } of disks) {
    sizes.set(config.path, image.stamp.sizeBytes);
    if (backing) sizes.set(backing.path, (await backing.handle.stat()).size);
  }
  requireNotTooLarge(`The disks of guest ${guest} have`, [...sizes.values()], store.largestSnapshotBytes);
}

export type CapturePlan = Extract<ChosenCapture, { method: string }> & { dataBytes: number };

/**
 * Chooses the method, and refuses what can't work before the guest is touched.
 * @throws CaptureImpossible, StoreTooFull, PredictedPauseOverBudget
 */
export async function planCapture(
  config: GuestConfig,
  disks: SourceDisk[],
  store: SnapshotStore,
  incoming: Incoming,
  signal: AbortSignal,
): Promise<CapturePlan> {
  const guest = config.name;
  let dataBytes = 0;
  for (const disk of disks) dataBytes += await countDataBytes(disk.image.handle.fd, { signal });
  const reflink = await Promise.all(
    disks.map(async ({ config: { device }, image }) => ({
      device,
      probe: await probeReflink(image.handle.fd, incoming.directory),
    })),
  );
  const sharesBlocks = isAskedFor(config, 'reflink') && reflink.every(({ probe }) => probe.works);
  await checkRoom(store, sharesBlocks ? 0 : dataBytes);
  const mayTrace = (sharesBlocks || isAskedFor(config, 'precopy')) && config.precopyTracker !== 'compared';
  const tracing = mayTrace ? await probeTracing() : null;
  const isShort = sharesBlocks || tracing?.works || dataBytes === 0;
  const { capture: wanted, precopyTracker: wantedTracker, pauseTargetMs, pauseBudgetMs: budgetMs } = config;
  const chosen = chooseCapture({
    ...{ wanted, wantedTracker, reflink, tracing, dataBytes, pauseTargetMs, budgetMs },
    bytesPerSecond: isShort ? null : await copyRateOf(disks, incoming, signal),
  });
  if ('impossible' in chosen) {
    throw new UmlsnapError('CaptureImpossible', { guest, method: config.capture, reason: chosen.impossible });
  }
  const { method, predictedPauseMs } = chosen;
  // How fast files compare is measured on the two files, and so by the precopy itself, before the stop. Only what is hopeless
  // is refused now: it would copy everything first, night by night.
  const hopeMs = predictedPauseMs === null ? 0 : predictedPauseMs / (method === 'copy' ? 1 : compareSpeedUp);
  if (hopeMs > config.pauseBudgetMs && predictedPauseMs !== null) {
    throw new UmlsnapError('PredictedPauseOverBudget', {
      guest,
      predictedMs: predictedPauseMs,
      budgetMs: config.pauseBudgetMs,
      dataBytes,
      method,
    });
  }
  return { ...chosen, dataBytes };
}

/** Comparing is never so many times as fast as copying. */
const compareSpeedUp = 8;

function isAskedFor({ capture }: GuestConfig, method: CaptureMethod): boolean {
  return capture === 'auto' || capture === method;
}

async function copyRateOf(
  disks: SourceDisk[],
  incoming: Incoming,
  signal: AbortSignal,
): Promise<number | null> {
  const largest = disks.reduce((a, b) => (a.image.stamp.sizeBytes >= b.image.stamp.sizeBytes ? a : b));
  const rate = await measureCopyRate(largest.image.handle.fd, incoming.directory, { signal });
  return rate?.bytesPerSecond ?? null;
}

async function checkRoom(store: SnapshotStore, dataBytes: number): Promise<void> {
  const needed = roomForSnapshot(dataBytes);
  const free = await store.free();
  if (free.bytes >= needed.bytes && free.inodes >= needed.inodes) return;
  throw new UmlsnapError('StoreTooFull', {
    store: store.name,
    path: store.path,
    neededBytes: needed.bytes,
    freeBytes: free.bytes,
    freeInodes: free.inodes,
  });
}
