import { dieWithParent } from '../../image/linux-calls.js';
import { newBuffer } from '../../image/sparse-pass.js';
import { becomeUrgent } from '../../urgency.js';
import { firstDiskFd } from '../child-words.js';
import { Precopy } from './precopy.js';
import { PrecopyDisk } from './precopy-disk.js';
import {
  type ChildTracking,
  DiskTrouble,
  type PrecopyArmWord,
  type PrecopyOrderWord,
  type PrecopyWord,
} from './precopy-words.js';
import { goComesWithinMs, type StartTracker, TrackLost } from './tracking.js';

/**
 * The process that copies the disks while the guest runs and captures the rest while it stands still. A process of its own, so
 * that it can be killed in the middle of a system call. Its main thread only follows the guest's writes, and does the last
 * round; all else is done by threads that never hold it up.
 */

const progressEveryMs = 250;

// A terminal's Ctrl-C and a service manager's SIGTERM reach the whole group. It is the parent who decides what they mean.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {});
process.on('disconnect', () => process.exit());
process.once('message', (order: PrecopyArmWord) => begin(order));

function begin(order: PrecopyArmWord): void {
  dieWithParent();
  // In this order: a parent that died before the call above would not be noticed by it.
  if (process.ppid !== order.parentPid) process.exit();
  becomeUrgent();
  // Errors that are not foreseen end the process, and the parent is told by that.
  const precopy = planned(order);
  process.on('message', (word: PrecopyOrderWord) => void obey(precopy, word));
  void obey(precopy, order);
}

function planned({ disks, tracking, bytesPerSecond, pauseTargetMs }: PrecopyArmWord): Precopy {
  const buffer = newBuffer();
  const isTraced = tracking.by === 'tracing';
  return new Precopy({
    disks: disks.map(({ device, sizeBytes }, index) => {
      const sourceFd = firstDiskFd + 2 * index;
      return new PrecopyDisk(device, sizeBytes, sourceFd, sourceFd + 1, buffer);
    }),
    bytesPerSecond,
    pauseTargetMs,
    startTracker: trackerOf(tracking),
    trackerProblem: isTraced ? null : tracking.problem,
    mayCompare: isTraced ? tracking.mayCompare : true,
  });
}

function trackerOf(tracking: ChildTracking): StartTracker | null {
  if (tracking.by === 'comparing') return null;
  const { instancePath, writers, guestPids, bufferKib } = tracking;
  const options = { instancePath, writers, guestPids, ...(bufferKib === undefined ? {} : { bufferKib }) };
  return async (disks) => {
    // A comparison does without the memory that this takes.
    const { startTracedTracker } = await import('../tracing/traced-tracker.js');
    return startTracedTracker({ ...options, disks });
  };
}

/** One order at a time: the parent waits for the answer. */
async function obey(precopy: Precopy, order: PrecopyOrderWord): Promise<void> {
  try {
    if (order.is === 'go') {
      say(await precopy.capture());
      setTimeout(() => precopy.end(), goComesWithinMs);
      return;
    }
    const { facts } = precopy;
    if (order.is === 'arm') {
      await whileTelling(precopy, precopy.arm());
      say({ is: 'armed', facts });
    } else {
      const comparison = await whileTelling(precopy, precopy.catchUp(order.roundsLimitMs));
      say({ is: 'caughtUp', comparison, facts });
    }
  } catch (error) {
    if (error instanceof DiskTrouble) say(error.word);
    else if (error instanceof TrackLost) say({ is: 'lost', facts: precopy.facts, problem: error.message });
    else throw error;
  }
}

/** Tells how far the work is, and ends early when the tracking is lost for good. */
async function whileTelling<T>(precopy: Precopy, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const lost = new Promise<never>((_, reject) => {
    timer = setInterval(() => {
      say({ is: 'progress', progress: precopy.progress(), facts: precopy.facts });
      try {
        precopy.lookAtTracking();
      } catch (error) {
        reject(error);
      }
    }, progressEveryMs);
  });
  try {
    return await Promise.race([work, lost]);
  } finally {
    clearInterval(timer);
  }
}

function say(word: PrecopyWord): void {
  process.send?.(word);
}
