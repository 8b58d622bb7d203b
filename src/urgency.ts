import { getPriority, setPriority } from 'node:os';

/** Nice value of whatever stands between a paused guest and its `go`. */
const urgentNice = -15;
const momentMs = 1000;

/** How eagerly one thread works; `ordinary` is what processes start with. */
export type ThreadUrgency = 'urgent' | 'ordinary' | 'background';

const niceOf: Record<ThreadUrgency, number> = { urgent: urgentNice, ordinary: 0, background: 10 };

/** For the calling thread alone, which is none of those that `becomeUrgent` is for. Without the right to it nothing changes. */
export function setThreadUrgency(urgency: ThreadUrgency): void {
  setNice(niceOf[urgency]);
}

let urgentWorks = 0;
let newestStartMs = 0;
let ordinaryNice = 0;
const waiting = new Set<() => void>();

/**
 * Puts this process ahead of other work on the host, and returns what undoes that. Without the right to do so it is an
 * ordinary process, only less punctual under load. Works that overlap share it: the last one to end undoes it.
 */
export function becomeUrgent(): () => void {
  urgentWorks += 1;
  newestStartMs = performance.now();
  if (urgentWorks === 1) {
    ordinaryNice = getPriority();
    setNice(urgentNice);
  }
  let isOver = false;
  return () => {
    if (isOver) return;
    isOver = true;
    urgentWorks -= 1;
    if (urgentWorks > 0) return;
    setNice(ordinaryNice);
    for (const go of [...waiting]) go();
  };
}

/**
 * Resolves when nothing urgent has begun in this process a moment ago. Work that holds the event loop up for milliseconds,
 * such as a synchronous write to a database, MUST wait for this: another job of ours may have a guest paused, and
 * milliseconds are what that takes. A pause that lasts for seconds does not feel them, and holds nobody up.
 */
export async function whenNotUrgent(): Promise<void> {
  for (;;) {
    const leftMs = newestStartMs + momentMs - performance.now();
    if (urgentWorks === 0 || leftMs <= 0) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(go, leftMs);
      function go(): void {
        clearTimeout(timer);
        waiting.delete(go);
        resolve();
      }
      waiting.add(go);
    });
  }
}

function setNice(nice: number): void {
  try {
    setPriority(nice);
  } catch {
    // An ordinary process does the same work.
  }
}
