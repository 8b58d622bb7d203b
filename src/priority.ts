import { setPriority } from 'node:os';
import koffi from 'koffi';

/** How eagerly one thread works; `ordinary` is what processes start with. */
export type ThreadPriority = 'urgent' | 'ordinary' | 'background';

/** `urgent` is whatever stands between a paused guest and its `go`. */
const niceOf: Record<ThreadPriority, number> = { urgent: -15, ordinary: 0, background: 10 };

const SCHED_OTHER = 0;
const SCHED_RR = 2;
/** What is started by this thread is ordinary again. */
const SCHED_RESET_ON_FORK = 0x40000000;
const realtimePriorities = { pauser: 1, guardian: 2 };

const libc = koffi.load(null);
const schedSetscheduler = libc.func('int sched_setscheduler(int tid, int policy, void *parameters)');

/** For the calling thread alone. Without the right to it nothing changes: an ordinary thread does the same work. */
export function setThreadPriority(priority: ThreadPriority): void {
  try {
    setPriority(niceOf[priority]);
  } catch {
    // Only less punctual under load.
  }
}

/** Puts the calling thread, and those that it starts from then on, ahead of other work on the host. */
export function raisePriority(): void {
  setThreadPriority('urgent');
}

/**
 * Runs `use` on this thread ahead of everything that shares its CPUs by time: a nice value counts within one session only (autogroup),
 * and a thread that was woken would wait for its turn, and a paused guest with it. Only for what ends by itself soon. Without the
 * right to it, `use` runs as it would have.
 */
export function inRealtime<T>(use: () => T): T {
  if (!schedule(SCHED_RR | SCHED_RESET_ON_FORK, realtimePriorities.pauser)) return use();
  try {
    return use();
  } finally {
    schedule(SCHED_OTHER | SCHED_RESET_ON_FORK, 0);
  }
}

/** For the guardian, for good: whoever pauses MUST NOT be able to keep it from its turn. */
export function stayInRealtime(): void {
  schedule(SCHED_RR | SCHED_RESET_ON_FORK, realtimePriorities.guardian);
}

function schedule(policy: number, priority: number): boolean {
  return schedSetscheduler(0, policy, new Int32Array([priority])) === 0;
}
