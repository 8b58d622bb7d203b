import type { ArmedCapture, CapturedDisk } from '../capture/capture.js';
import { UmlsnapError } from '../errors.js';
import { consistencyOf, type DirtyState } from '../guest/dirty-state.js';
import type { Guest } from '../guest/guest.js';
import type { GuestProcesses } from '../guest/guest-processes.js';
import { waitUntilDrained, writtenBy } from '../guest/io-drain.js';
import type { Paused } from '../pause/with-paused-guest.js';
import type { PhaseJournal } from './phase-journal.js';

export interface PausedWork {
  guest: Guest;
  processes: GuestProcesses;
  capture: ArmedCapture;
  journal: PhaseJournal;
  /** Captures even what is not `synced`. */
  acceptsDirty: boolean;
}

export type PausedResult =
  | { captured: false; dirty: DirtyState }
  | { captured: true; dirty: DirtyState; takenAt: Date; disks: Map<string, CapturedDisk> };

/**
 * What happens while the guest stands still, and nothing else MUST: sync as documented, drain, look, capture. The only
 * requests that go to the guest are `sysrq`, `proc` of an allow-list; `config X=…` and `remove` would let it run.
 * @throws IoNotDrained, SourceChanged, CaptureFailed, or the reason of the pause's signal
 */
export async function captureWhilePaused(paused: Paused, work: PausedWork): Promise<PausedResult> {
  const { guest, processes, capture, journal } = work;
  const takenAt = new Date();
  journal.enterPaused('sync');
  const leftMs = () => Math.max(1, paused.deadlineMs - performance.now());
  // The documented order. It writes nothing now, but is queued: the guest syncs right after `go`.
  const startedMs = performance.now();
  const [isDrained] = await Promise.all([
    waitUntilDrained(processes.ioTasks, paused.deadlineMs, paused.signal),
    guest.emergencySync(leftMs(), paused.signal),
  ]);
  if (!isDrained) {
    throw new UmlsnapError('IoNotDrained', { guest: guest.name, waitedMs: performance.now() - startedMs });
  }
  const dirty = await guest.dirtyState(leftMs(), paused.signal);
  journal.note({ ...dirty, consistency: consistencyOf(dirty) });
  if (consistencyOf(dirty) === 'crash' && !work.acceptsDirty) {
    journal.enterPaused('go');
    return { captured: false, dirty };
  }
  journal.enterPaused('capture');
  const writtenBefore = writtenBy(processes.ioTasks);
  const disks = await capture.run(paused.signal);
  if (writtenBy(processes.ioTasks) !== writtenBefore) {
    throw new UmlsnapError('SourceChanged', {
      guest: guest.name,
      device: guest.config.disks.map((disk) => disk.device).join(', '),
      problem: "the guest's I/O helper wrote to it",
    });
  }
  paused.signal.throwIfAborted();
  journal.enterPaused('go');
  return { captured: true, dirty, takenAt, disks };
}
