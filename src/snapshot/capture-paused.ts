import type { ArmedCapture, CapturedDisk } from '../capture/capture.js';
import { UmlsnapError } from '../errors.js';
import {
  consistencyOf,
  type DirtyState,
  isClean,
  type Readiness,
  writtenDisks,
} from '../guest/dirty-state.js';
import type { Guest } from '../guest/guest.js';
import type { GuestProcesses } from '../guest/guest-processes.js';
import type { HostView } from '../guest/host-view.js';
import { waitUntilDrained, writtenBy } from '../guest/io-drain.js';
import { confirmStopped } from '../guest/stop-probe.js';
import type { Paused } from '../pause/with-paused-guest.js';
import type { PhaseJournal } from './phase-journal.js';
import { pausedFigures } from './precopy-facts.js';

export interface PausedWork {
  guest: Guest;
  processes: GuestProcesses;
  view: HostView;
  capture: ArmedCapture;
  journal: PhaseJournal;
  /** More than one CPU: its other ones run on, and so a capture is at best what a power cut would leave. */
  isSmp: boolean;
  readiness: Readiness;
  isFrozen: boolean;
  /** After its first sync: what writes since then keeps it from being clean. */
  synced: DirtyState;
  /** Captures even what is not `synced`. */
  acceptsDirty: boolean;
  /** Captures what is `frozen` if the freeze turns out to have held. */
  goesByFreeze: boolean;
}

export type PausedResult =
  | ({ captured: false } & Looked)
  | ({ captured: true; takenAt: Date; disks: Map<string, CapturedDisk> } & Looked);

/** What the stopped guest's counters say. */
interface Looked {
  dirty: DirtyState;
  consistency: Reached;
  /** It is `frozen`, if the freeze turns out to have held: something else than its filesystems may have written, as its swap does. */
  isCleanFrozen: boolean;
  /** Devices that were written from the first sync to the stop. */
  written: string[];
}

/** As the guest's counters say it; that it was frozen besides is known only after its thaw. */
export type Reached = 'synced' | 'crash';

/** What a stopped guest answers takes it microseconds; one that is silent for so long is given up. */
const answerLimitMs = 1000;

/**
 * What happens while the guest stands still, and nothing else MUST: sync as documented, drain, look, capture. The only
 * requests that go to the guest are `sysrq`, `proc` of an allow-list; `config X=…` and `remove` would let it run.
 * @throws IoNotDrained, GuestNotStopped, GuestNotAnswering, SourceChanged, CaptureFailed, TrackingLost, or the reason of the pause's signal
 */
export async function captureWhilePaused(paused: Paused, work: PausedWork): Promise<PausedResult> {
  const { guest, view, capture, journal } = work;
  const takenAt = new Date();
  journal.enterPaused('check');
  await requireStopped(work);
  const looking = syncAndLook(work, paused);
  looking.catch(() => {}); // told where it is awaited, unless the drain has failed before
  await requireDrained(work, paused);
  if (!work.acceptsDirty) {
    const look = await looking;
    journal.note(figuresOf(look));
    if (look.consistency === 'crash' && !(work.goesByFreeze && look.isCleanFrozen)) {
      journal.enterPaused('go');
      return { captured: false, ...look };
    }
  }
  journal.enterPaused('capture');
  const writtenBefore = writtenBy(view);
  // What is no condition is asked while the capture works: the questions are a millisecond of the pause.
  const [look, disks] = await Promise.all([looking, capture.run(paused.signal)]);
  if (work.acceptsDirty) journal.note(figuresOf(look));
  journal.note(pausedFigures(capture));
  await requireStopped(work);
  if (writtenBefore === undefined || writtenBy(view) !== writtenBefore) {
    throw new UmlsnapError('SourceChanged', {
      guest: guest.name,
      device: guest.config.disks.map((disk) => disk.device).join(', '),
      problem: "the guest's I/O helper wrote to it",
    });
  }
  paused.signal.throwIfAborted();
  journal.enterPaused('go');
  return { captured: true, ...look, takenAt, disks };
}

function figuresOf({ dirty, consistency, written }: Looked): Record<string, unknown> {
  const { dirtyKib, inFlight, completedWrites } = dirty;
  return { dirtyKib, inFlight, completedWrites, consistency, ...(written.length > 0 && { written }) };
}

async function requireDrained({ guest, view }: PausedWork, { deadlineMs, signal }: Paused): Promise<void> {
  const startedMs = performance.now();
  if (await waitUntilDrained(view, deadlineMs, signal)) return;
  throw new UmlsnapError('IoNotDrained', { guest: guest.name, waitedMs: performance.now() - startedMs });
}

/**
 * The documented order: the sync first. It writes nothing now, but is queued: the guest syncs right after `go`. Then what the
 * guest has not written yet, which stands still with it. The three requests wait for no answer in between, as each is a
 * good part of a millisecond.
 */
async function syncAndLook(
  { guest, isSmp, readiness, isFrozen, synced }: PausedWork,
  { deadlineMs, signal }: Paused,
): Promise<Looked> {
  const timeoutMs = Math.min(answerLimitMs, Math.max(1, deadlineMs - performance.now()));
  const options = { timeoutMs, signal, beside: true };
  const [, dirty] = await Promise.all([guest.emergencySync(options), guest.dirtyState(options)]);
  const devices = guest.config.disks.map(({ device }) => device);
  const written = writtenDisks(devices, synced, dirty);
  const consistency = isSmp ? 'crash' : consistencyOf(dirty, readiness);
  return { dirty, consistency, isCleanFrozen: !isSmp && isFrozen && isClean(dirty), written };
}

/** What the console says is the guest's word; this is the host's. */
async function requireStopped({ guest, processes, view, journal }: PausedWork): Promise<void> {
  if (await confirmStopped(view)) return;
  const { socketPath, name } = guest;
  const pid = processes.main.pid;
  throw new UmlsnapError('GuestNotStopped', { guest: name, pid, socketPath, phase: journal.phase });
}
