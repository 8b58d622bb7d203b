import type { CaptureMethod } from './capture.js';
import type { ReflinkProbe } from './probe-reflink.js';

export type Tracker = 'traced' | 'compared';

export interface CaptureWish {
  wanted: 'auto' | CaptureMethod;
  /** Of a precopy. */
  wantedTracker: 'auto' | Tracker;
  /** What the probe said of each disk. */
  reflink: { device: string; probe: ReflinkProbe }[];
  /** Whether writes can be traced here; null: nobody asked, as it could not matter. */
  tracing: { works: true } | { works: false; reason: string } | null;
  /** What a copy would carry, of all disks together. */
  dataBytes: number;
  /** Of a copy; null: not measured. */
  bytesPerSecond: number | null;
  /** The pause that a precopy aims at. */
  pauseTargetMs: number;
  budgetMs: number;
}

export type ChosenCapture =
  | {
      method: CaptureMethod;
      /** null: nobody follows the guest's writes. */
      tracker: Tracker | null;
      /** For people and the job's record. */
      reason: string;
      /** How long the capture is expected to take; null: not known, which but for a copy means milliseconds. */
      predictedPauseMs: number | null;
      warnings: string[];
    }
  | { impossible: string };

/**
 * Chooses the capture's method, with the reasons why those before it in the order reflink, traced precopy, compared precopy,
 * copy don't fit. A pause over the budget is told, not refused: that is the preflight's, or the precopy's. Pure.
 */
export function chooseCapture(wish: CaptureWish): ChosenCapture {
  if (wish.wanted === 'copy') return copy(wish, 'the config asks for a copy');
  if (wish.wanted === 'precopy') return precopy(wish, 'the config asks for a precopy');
  const refused = wish.reflink
    .flatMap(({ device, probe }) => (probe.works ? [] : [`${device}: ${probe.reason}`]))
    .join('; ');
  if (refused !== '') {
    if (wish.wanted === 'reflink') return { impossible: refused };
    return precopy(wish, `no reflink is possible (${refused})`);
  }
  const reason =
    wish.wanted === 'reflink' ? 'the config asks for a reflink' : 'the store shares blocks with the disks';
  // What is traced is shared while the guest runs, and the pause takes only what was written since.
  const isTraced = wish.wantedTracker !== 'compared' && wish.tracing?.works === true;
  const tracker = isTraced ? 'traced' : null;
  return { method: 'reflink', tracker, reason, predictedPauseMs: null, warnings: [] };
}

function precopy(wish: CaptureWish, reason: string): ChosenCapture {
  const { wanted, wantedTracker, tracing } = wish;
  if (wantedTracker === 'compared') return compared(wish, `${reason}; precopyTracker asks for comparing`);
  if (tracing?.works) {
    return { method: 'precopy', tracker: 'traced', reason, predictedPauseMs: null, warnings: [] };
  }
  const untraced = `writes can't be traced${tracing ? ` (${tracing.reason})` : ''}`;
  if (wantedTracker === 'traced') return { impossible: untraced };
  const copyMs = predictCopyMs(wish);
  // Comparing reads as much as a copy does: where a copy is as short as a precopy could hope to be, it is the simpler one.
  if (wanted === 'auto' && copyMs !== null && copyMs <= wish.pauseTargetMs) {
    return copy(wish, `${reason}; ${untraced}; there is so little data that comparing it is no faster`);
  }
  return compared(wish, `${reason}; ${untraced}`);
}

/** How fast the two files compare is known only when there are two: until then, no slower than they copy. */
function compared(wish: CaptureWish, reason: string): ChosenCapture {
  const predictedPauseMs = predictCopyMs(wish);
  const warnings = [standsStill(wish, 'compared', predictedPauseMs)];
  return { method: 'precopy', tracker: 'compared', reason, predictedPauseMs, warnings };
}

function copy(wish: CaptureWish, reason: string): ChosenCapture {
  const predictedPauseMs = predictCopyMs(wish);
  const warnings = [standsStill(wish, 'copied', predictedPauseMs)];
  return { method: 'copy', tracker: null, reason, predictedPauseMs, warnings };
}

function predictCopyMs({ dataBytes, bytesPerSecond }: CaptureWish): number | null {
  if (dataBytes === 0) return 0;
  return bytesPerSecond === null ? null : Math.ceil((dataBytes * 1000) / bytesPerSecond);
}

function standsStill({ dataBytes, budgetMs }: CaptureWish, verb: string, pauseMs: number | null): string {
  const data = `the guest stands still while ${(dataBytes / 1024 ** 2).toFixed(1)} MiB of data are ${verb}`;
  if (pauseMs === null) return `${data}, for a time not known`;
  const budget = pauseMs > budgetMs ? `, over its budget of ${seconds(budgetMs)}` : '';
  return `${data}, about ${seconds(pauseMs)}${budget}`;
}

function seconds(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}
