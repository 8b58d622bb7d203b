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
  const elapsedMs = last.bootId === bootId() ? uptimeMs() - last.uptimeMs : null;
  return { sweptAt, newestTakenAt, aheadUntil, elapsedMs };
}

/**
 * Leaves word for the next sweep. While the clock is in doubt there is nothing to remember: the word of the sweep before the
 * doubt MUST stand until it is over, or a second sweep by the same wrong clock would find nothing strange.
 */
export async function rememberSweep(
  ledger: SweepLedger,
  store: string,
  guest: string,
  { remember }: Pick<RetentionPlan, 'remember'>,
  now: Date,
): Promise<void> {
  if (remember === null) return;
  const clocks = { sweptAt: now.toISOString(), bootId: bootId(), uptimeMs: uptimeMs() };
  await ledger.recordSweep({ store, guest, ...remember, ...clocks });
}
