import type { StoreGap } from '../history/overview-queries.js';
import type { Alert } from './alert.js';

/** One that was missed is told by its job as a warning, and the next job catches up. */
const missedAtLeast = 2;
/** A place may be away for a moment, however often its guests are backed up. */
const lagAtLeastMs = 60 * 60_000;

/** Whether a store has missed so much that the next job did not catch up what the one before had to leave. */
export function isLagging({ missed, missedSince }: StoreGap, now: Date): boolean {
  return (
    missed >= missedAtLeast && missedSince !== null && now.getTime() - Date.parse(missedSince) >= lagAtLeastMs
  );
}

/** Tells each store that lags behind once, and once that it has caught up. */
export class StoreLagWatch {
  /** By guest and store, those that lag: how much was missed at the first look, and whether it was told. */
  readonly #lagging = new Map<string, { missed: number; isTold: boolean }>();

  /**
   * What has to be told. A store that lags at the first look may be new in the config, and be filled by the next job: it is told when that
   * has left it out as well.
   * @param gaps of all stores of all guests; of one that is not among them any more, nothing is told
   */
  take(gaps: readonly StoreGap[], now: Date): Alert[] {
    const alerts: Alert[] = [];
    const before = new Map(this.#lagging);
    this.#lagging.clear();
    for (const gap of gaps) {
      const key = `${gap.guest} ${gap.store}`;
      const known = before.get(key);
      if (isLagging(gap, now)) {
        const lagging = known ?? { missed: gap.missed, isTold: false };
        const isNew = !lagging.isTold && gap.missed > lagging.missed;
        if (isNew) alerts.push(lagAlert(gap, now));
        this.#lagging.set(key, { ...lagging, isTold: lagging.isTold || isNew });
      } else if (known?.isTold && gap.missed > 0) this.#lagging.set(key, known);
      else if (known?.isTold) alerts.push(caughtUpAlert(gap, now));
    }
    return alerts;
  }
}

function lagAlert({ guest, store, newestAt, missed, missedSince }: StoreGap, now: Date): Alert {
  const has =
    newestAt === null ? 'It has none of its snapshots.' : `The newest that it has is of ${newestAt}.`;
  return {
    ...{ kind: 'storeLag', guest, job: null, at: now.toISOString() },
    subject: `umlsnap: ${guest}: store ${store} lacks its last ${missed} snapshots`,
    text: `Store ${store} has got no snapshot of guest ${guest} since ${missedSince}: ${missed} are missing there. ${has} Look with \`umlsnap history ${guest}\` and \`umlsnap show JOB\` at what is in the way; the next backup catches up.`,
  };
}

function caughtUpAlert({ guest, store }: StoreGap, now: Date): Alert {
  return {
    ...{ kind: 'storeLag', guest, job: null, at: now.toISOString() },
    subject: `umlsnap: ${guest}: store ${store} has caught up`,
    text: `Store ${store} has all snapshots of guest ${guest} again that it should have.`,
  };
}
