import { getPriority, setPriority } from 'node:os';

/** Nice value of whatever stands between a paused guest and its `go`. */
const urgentNice = -15;

let urgentWorks = 0;
let ordinaryNice = 0;
const waiting = new Set<() => void>();

/**
 * Puts this process ahead of other work on the host, and returns what undoes that. Without the right to do so it is an
 * ordinary process, only less punctual under load. Works that overlap share it: the last one to end undoes it.
 */
export function becomeUrgent(): () => void {
  urgentWorks += 1;
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
    for (const go of waiting) go();
    waiting.clear();
  };
}

/**
 * Resolves when nothing urgent goes on in this process. Work that holds the event loop up, such as a synchronous write to
 * a database, MUST wait for this: another job of ours may have a guest paused.
 */
export async function whenNotUrgent(): Promise<void> {
  while (urgentWorks > 0) await new Promise<void>((resolve) => waiting.add(resolve));
}

function setNice(nice: number): void {
  try {
    setPriority(nice);
  } catch {
    // An ordinary process does the same work.
  }
}
