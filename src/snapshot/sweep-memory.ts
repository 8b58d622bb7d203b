import { uptimeMs } from '../clock.js';
import type { SweepRecord } from '../history/records.js';
import { bootId } from '../process-identity.js';
import type { RetentionPlan } from '../retention/apply-keep-policy.js';
import type { PreviousSweep } from '../retention/clock-doubt.js';

/** Where sweeps are remembered, by store and guest. */
export interface SweepLedger {
  lastSweep(store: string, guest: string): Promise<SweepRecord | null>;
  recordSweep(sweep: SweepRecord): Promise<void>;
}

/** What the previous sweep left; null where there was none. */
export async function previousSweep(
  ledger: SweepLedger,
  store: string,
  guest: string,
): Promise<PreviousSweep | null> {
  const last = await ledger.lastSweep(store, guest);
  if (last === null) return null;
  const { sweptAt, newestTakenAt, aheadUntil } = last;
  const sinceMs = uptimeMs() - last.uptimeMs;
  // A container may count from its own start.
  const elapsedMs = last.bootId === bootId() && sinceMs >= 0 ? sinceMs : null;
  return { sweptAt, newestTakenAt, aheadUntil, elapsedMs };
}

/**
 * Leaves word for the next sweep. While the clock is in doubt there is nothing to remember: the word of the sweep before the
 * doubt MUST stand until it is over, or a second sweep by the same wrong clock would find nothing strange.
 * @param began both clocks at one moment: a removal may take hours, which would look like a leap of one of them
 */
export async function rememberSweep(
  ledger: SweepLedger,
  store: string,
  guest: string,
  { remember }: Pick<RetentionPlan, 'remember'>,
  began: { now: Date; uptimeMs: number },
): Promise<void> {
  if (remember === null) return;
  const clocks = { sweptAt: began.now.toISOString(), bootId: bootId(), uptimeMs: began.uptimeMs };
  await ledger.recordSweep({ store, guest, ...remember, ...clocks });
}
