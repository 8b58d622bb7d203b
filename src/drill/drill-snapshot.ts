import { join } from 'node:path';
import type { DrillSettings } from '../config/drill-config.js';
import { isError, UmlsnapError } from '../errors.js';
import { NotifyListener } from '../mconsole/notify-listener.js';
import type { RestoreSource } from '../restore/restore-source.js';
import { restoreToDirectory } from '../restore/restore-to-directory.js';
import { rootLinks } from '../sandbox-args.js';
import { ConsoleWatch, keptLines } from './console-watch.js';
import { type DrillPlace, giveTo, requireRoom, withDrillPlace } from './drill-place.js';
import { findKernel } from './find-kernel.js';
import type { GuestFailure } from './guest-failure.js';
import { type DrillStep, NotAlive, proveLife } from './proof-of-life.js';
import type { SandboxDisk, SandboxOrder } from './sandbox-command.js';
import { endOfForeignKernel, withSandboxedGuest } from './sandboxed-guest.js';
import { withTroubleWatch } from './trouble-watch.js';

export interface DrillOrder {
  source: RestoreSource;
  settings: DrillSettings;
  /** Directory for the copies of the disks. */
  scratch: string;
  /** User and group that the guest runs as where we are root. */
  user: number;
  /** Told to whoever wants to drill as well. */
  holder: string;
  wait: boolean;
  signal: AbortSignal;
  /** Runs a step, and notes it. */
  step<T>(step: DrillStep, work: () => Promise<T>): Promise<T>;
}

export interface DrillOutcome {
  /** null: it passed. */
  failure: GuestFailure | null;
  /** The end of the console, for people. */
  console: string[];
  /** The line that held what was expected. */
  foundLine: string | null;
}

/**
 * Boots a snapshot in a box until it has proved that it lives:
 * 1. its disks are restored to a scratch directory, by which every byte is held against its checksum. A copy, and not the snapshot's own
 *    files or a reflink of them: whatever the store, nothing of it is ever opened by what is booted, and the copies can belong
 *    to a user who may read nothing else of ours. A COW pair becomes a raw image: from some pairs UML reads wrong data (uml-facts,
 *    fact 15), and a boot of them would prove nothing;
 * 2. they are booted, and looked at by `proveLife`, all within the time;
 * 3. everything of it is killed and removed.
 * What the guest does is an outcome; what keeps us from drilling is an error, and says nothing of the snapshot.
 * @throws DrillImpossible, Busy, RestoreFailed, or the signal's reason
 */
export async function drillSnapshot(order: DrillOrder): Promise<DrillOutcome> {
  const { scratch, holder, wait, signal, settings } = order;
  const kernel = await findKernel(settings.kernel);
  return await withDrillPlace(scratch, { holder, wait, signal }, async (place) => {
    const watch = new ConsoleWatch(settings.expect);
    const failure = await failureOf(() => bootCopies(order, kernel, place, watch));
    return { failure, console: keptLines(watch.tail), foundLine: watch.foundLine };
  });
}

async function failureOf(work: () => Promise<void>): Promise<GuestFailure | null> {
  try {
    await work();
    return null;
  } catch (error) {
    if (error instanceof NotAlive) return error.failure;
    if (isError(error, 'SnapshotDamaged')) return { failure: 'damaged', detail: error.facts.problem };
    if (isError(error, 'NoCowPair'))
      return { failure: 'noCowPair', detail: `${error.facts.file}: ${error.facts.problem}` };
    throw error;
  }
}

async function bootCopies(
  order: DrillOrder,
  kernel: string,
  place: DrillPlace,
  watch: ConsoleWatch,
): Promise<void> {
  const { source, settings, signal } = order;
  const user = process.geteuid?.() === 0 ? order.user : null;
  const disks = await order.step('restore', () => copyDisks(source, place, user, signal));
  const notifySocket = join(place.sockets, 'notify');
  const listening = {
    socketPath: notifySocket,
    // Nobody else knows of this socket, whose place is ours alone.
    lock: { on: 'directory', directory: place.scratch, key: 'notify', orGoOn: true } as const,
    holder: order.holder,
    ...(user !== null && { guestUid: user }),
  };
  await NotifyListener.listenWhile(listening, async (notifications) => {
    const sharedDirectory = place.sockets;
    const sandbox: SandboxOrder = {
      kernel,
      settings,
      disks,
      user,
      sharedDirectory,
      notifySocket,
      rootEntries: await rootLinks(),
    };
    await withSandboxedGuest(sandbox, watch, async (guest) => {
      await withTroubleWatch(guest, place.scratch, settings.memoryBytes, async (trouble) => {
        const { step } = order;
        try {
          await proveLife({
            settings,
            guest,
            watch,
            notifications,
            sharedDirectory,
            user,
            trouble,
            signal,
            step,
          });
        } catch (error) {
          throw sandboxProblem(error, watch.tail) ?? error;
        }
      });
    });
  });
}

async function copyDisks(
  source: RestoreSource,
  { scratch }: DrillPlace,
  user: number | null,
  signal: AbortSignal,
): Promise<SandboxDisk[]> {
  const { disks } = source.manifest;
  // Of a COW pair, the image and the copy of the COW file beside it.
  const neededBytes = disks.reduce((sum, disk) => sum + disk.storedBytes + (disk.backing?.sizeBytes ?? 0), 0);
  await requireRoom(scratch, neededBytes);
  const restored = await restoreToDirectory(source, scratch, { signal, merge: true });
  await giveTo(
    user,
    restored.map(({ path }) => path),
  );
  return restored;
}

/** What kept the box or the kernel in it from being started says nothing of the snapshot. */
function sandboxProblem(error: unknown, tail: string): UmlsnapError | null {
  if (!(error instanceof NotAlive) || error.failure.failure !== 'kernelDidNotStart') return null;
  if (error.failure.detail.startsWith(endOfForeignKernel)) {
    const problem = `the kernel is not made for ${process.arch}: no box lets its calls through`;
    return new UmlsnapError('DrillImpossible', { problem }, error);
  }
  const lastLine = tail.trimEnd().split('\n').at(-1) ?? '';
  if (!/^(?:bwrap|setpriv|setarch|prlimit): /.test(lastLine)) return null;
  return new UmlsnapError('DrillImpossible', { problem: lastLine.slice(0, 400) }, error);
}
