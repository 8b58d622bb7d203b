import type { DiskWriter, TrackedDisk, WriteTracker } from '../precopy/write-tracker.js';
import { ForeignWriteMonitor } from './foreign-write-monitor.js';
import { initThreadIds } from './init-thread-ids.js';
import { beginTracing, InstanceWatch } from './instance-settings.js';
import { ownThreadId } from './kernel-calls.js';
import { TraceReader } from './trace-reader.js';
import { WriteFollower } from './write-follower.js';
import { WriterThread } from './writer-thread.js';

export interface TracedTrackerOptions {
  /** Of an instance that traces nothing yet (createTraceInstance). */
  instancePath: string;
  /** For each CPU; 2048 by default. */
  bufferKib?: number;
  disks: TrackedDisk[];
  /** Every thread that writes the disks. */
  writers: DiskWriter[];
  /** Processes that may have the disks open. */
  guestPids: number[];
}

/**
 * Follows the writes by tracing the calls of the threads that make them. Resolves when every write from then on is known:
 * what is copied afterwards is either marked later or was not written. For the thread that calls it only.
 * @throws Error with a reason for people when the writes can't be followed
 */
export async function startTracedTracker(options: TracedTrackerOptions): Promise<WriteTracker> {
  const { instancePath, bufferKib, disks, writers, guestPids } = options;
  if (process.arch !== 'x64')
    throw new Error(`system calls are followed on x86-64 only, not on ${process.arch}`);
  if (writers.length === 0) throw new Error('no thread is known to write the disks');
  const closers: (() => void)[] = [];
  const release = () => {
    for (const close of closers.splice(0)) close();
  };
  const keep = <T extends { close(): void }>(part: T): T => {
    closers.push(() => part.close());
    return part;
  };
  try {
    const monitor = keep(new ForeignWriteMonitor(disks, writers, guestPids));
    const self = { pid: process.pid, tid: ownThreadId() };
    const [readerId = 0, ...ids] = initThreadIds(instancePath, [self, ...writers]);
    const threads = new Map(
      writers.map((writer, index) => [ids[index] ?? 0, keep(new WriterThread(writer, monitor.images))]),
    );
    await beginTracing(instancePath, { reader: readerId, writers: ids }, bufferKib);
    const reader = keep(new TraceReader(instancePath, readerId));
    const watch = keep(new InstanceWatch(instancePath));
    const follower = new WriteFollower({ disks, threads, monitor, reader, watch, release });
    await follower.openAccounts();
    return follower;
  } catch (error) {
    release();
    throw error;
  }
}
