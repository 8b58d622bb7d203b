import { armCopy, armReflink } from '../capture/arm-capture.js';
import type { ArmedCapture, CaptureMethod } from '../capture/capture.js';
import type { Tracker } from '../capture/choose-capture.js';
import { armPrecopy } from '../capture/precopy/arm-precopy.js';
import type { PrecopyOrder, PrecopyProgress, Tracking } from '../capture/precopy/precopy-order.js';
import type { GuestConfig } from '../config/config.js';
import type { GuestProcesses } from '../guest/guest-processes.js';
import type { Incoming } from '../store/incoming.js';
import { fileNameOf, type SourceDisk } from './source-disks.js';

export interface CaptureOrder {
  method: CaptureMethod;
  tracker: Tracker | null;
  config: GuestConfig;
  processes: GuestProcesses;
  disks: SourceDisk[];
  incoming: Incoming;
  onProgress: (progress: PrecopyProgress) => void;
  signal: AbortSignal;
}

/** Arms the capture of a guest's disks by the method that was chosen. @throws CaptureFailed, SourceChanged, TrackingLost, or the signal's reason */
export function armDisks(order: CaptureOrder): Promise<ArmedCapture> {
  const guest = order.config.name;
  const disks = order.disks.map(({ config, image }) => ({
    device: config.device,
    sourceFd: image.handle.fd,
    sourcePath: config.path,
    sizeBytes: image.stamp.sizeBytes,
    targetPath: order.incoming.pathOf(fileNameOf(config)),
  }));
  switch (order.method) {
    case 'reflink':
      return armReflink(guest, disks);
    case 'precopy':
      return armPrecopy({ ...{ guest, disks }, ...limitsOf(order) });
    case 'copy':
      return armCopy(guest, disks);
  }
}

function limitsOf(order: CaptureOrder): Omit<PrecopyOrder, 'guest' | 'disks'> {
  const { config, onProgress, signal } = order;
  const { precopyBytesPerSecond, pauseTargetMs, pauseBudgetMs } = config;
  return {
    tracking: trackingOf(order),
    bytesPerSecond: precopyBytesPerSecond,
    pauseTargetMs: Math.min(pauseTargetMs, pauseBudgetMs),
    budgetMs: pauseBudgetMs,
    ...{ onProgress, signal },
  };
}

function trackingOf({ tracker, config, processes }: CaptureOrder): Tracking {
  if (tracker !== 'traced') return { by: 'comparing' };
  return {
    by: 'tracing',
    writers: processes.ioTasks.map((task) => {
      const [pid, , tid] = task.split('/').map(Number);
      return { pid: pid ?? 0, tid: tid ?? 0 };
    }),
    guestPids: processes.holders.map(({ pid }) => pid),
    mayCompare: config.precopyTracker === 'auto',
  };
}
