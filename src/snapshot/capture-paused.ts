import type { ArmedCapture, CapturedDisk } from '../capture/capture.js';
import { UmlsnapError } from '../errors.js';
import { consistencyOf, type DirtyState } from '../guest/dirty-state.js';
import type { Guest } from '../guest/guest.js';
import type { GuestProcesses } from '../guest/guest-processes.js';
import { waitUntilDrained, writtenBy } from '../guest/io-drain.js';
import { confirmStopped } from '../guest/stop-probe.js';
import type { Paused } from '../pause/with-paused-guest.js';
import type { PhaseJournal } from './phase-journal.js';

export interface PausedWork {
  guest: Guest;
  processes: GuestProcesses;
  capture: ArmedCapture;
  journal: PhaseJournal;
  /** More than one CPU: its other ones run on, and so a capture is at best what a power cut would leave. */
  isSmp: boolean;
  /** Captures even what is not `synced`. */
  acceptsDirty: boolean;
}

export type PausedResult =
  | { captured: false; dirty: DirtyState; consistency: Reached }
  | {
      captured: true;
      dirty: DirtyState;
      consistency: Reached;
      takenAt: Date;
      disks: Map<string, CapturedDisk>;
    };

/** Without an agent in the guest. */
export type Reached = 'synced' | 'crash';

/** What a stopped guest answers takes it microseconds; one that is silent for so long is given up. */
const answerLimitMs = 1000;

/**
 * What happens while the guest stands still, and nothing else MUST: sync as documented, drain, look, capture. The only
 * requests that go to the guest are `sysrq`, `proc` of an allow-list; `config X=…` and `remove` would let it run.
 * @throws IoNotDrained, GuestNotStopped, GuestNotAnswering, SourceChanged, CaptureFailed, or the reason of the pause's signal
 */
export async function captureWhilePaused(paused: Paused, work: PausedWork): Promise<PausedResult> {
  const { guest, processes, capture, journal } = work;
  const takenAt = new Date();
  journal.enterPaused('sync');
  const leftMs = () => Math.min(answerLimitMs, Math.max(1, paused.deadlineMs - performance.now()));
  // The documented order. It writes nothing now, but is queued: the guest syncs right after `go`.
  const startedMs = performance.now();
  const [isDrained] = await Promise.all([
    waitUntilDrained(processes.ioTasks, paused.deadlineMs, paused.signal),
    guest.emergencySync(leftMs(), paused.signal),
  ]);
  if (!isDrained) {
    throw new UmlsnapError('IoNotDrained', { guest: guest.name, waitedMs: performance.now() - startedMs });
  }
  await requireStopped(work);
  const dirty = await guest.dirtyState(leftMs(), paused.signal);
  const consistency = work.isSmp ? 'crash' : consistencyOf(dirty);
  journal.note({ ...dirty, consistency });
  if (consistency === 'crash' && !work.acceptsDirty) {
    journal.enterPaused('go');
    return { captured: false, dirty, consistency };
  }
  journal.enterPaused('capture');
  const writtenBefore = writtenBy(processes.ioTasks);
  const disks = await capture.run(paused.signal);
  await requireStopped(work);
  if (writtenBefore === undefined || writtenBy(processes.ioTasks) !== writtenBefore) {
    throw new UmlsnapError('SourceChanged', {
      guest: guest.name,
      device: guest.config.disks.map((disk) => disk.device).join(', '),
      problem: "the guest's I/O helper wrote to it",
    });
  }
  paused.signal.throwIfAborted();
  journal.enterPaused('go');
  return { captured: true, dirty, consistency, takenAt, disks };
}

/** What the console says is the guest's word; this is the host's. */
async function requireStopped({ guest, processes, journal }: PausedWork): Promise<void> {
  if (await confirmStopped(processes)) return;
  const { socketPath, name } = guest;
  const pid = processes.main.pid;
  throw new UmlsnapError('GuestNotStopped', { guest: name, pid, socketPath, phase: journal.phase });
}
