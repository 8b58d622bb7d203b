import type { CaptureMethod } from './capture.js';
import type { ReflinkProbe } from './probe-reflink.js';

export interface CaptureWish {
  wanted: 'auto' | CaptureMethod;
  /** What the probe said of each disk. */
  reflink: { device: string; probe: ReflinkProbe }[];
  /** What a copy would carry, of all disks together. */
  dataBytes: number;
  /** null: not measured. */
  bytesPerSecond: number | null;
  budgetMs: number;
}

export type ChosenCapture =
  | {
      method: CaptureMethod;
      /** For people and the job's record. */
      reason: string;
      /** How long the capture is expected to take; null: not known, which for a reflink means next to nothing. */
      predictedPauseMs: number | null;
      warnings: string[];
    }
  | { impossible: string };

/** Chooses the capture's method, with a reason. A pause over the budget is told, not refused: that is the preflight's. Pure. */
export function chooseCapture(wish: CaptureWish): ChosenCapture {
  const refusals = wish.reflink.flatMap(({ device, probe }) =>
    probe.works ? [] : [`${device}: ${probe.reason}`],
  );
  const refused = refusals.join('; ');
  if (wish.wanted === 'copy') return copy(wish, 'the config asks for a copy');
  if (refusals.length > 0) {
    if (wish.wanted === 'reflink') return { impossible: refused };
    return copy(wish, `no reflink is possible (${refused})`);
  }
  const reason =
    wish.wanted === 'reflink' ? 'the config asks for a reflink' : 'the store shares blocks with the disks';
  return { method: 'reflink', reason, predictedPauseMs: null, warnings: [] };
}

function copy(wish: CaptureWish, reason: string): ChosenCapture {
  const predictedPauseMs = predictCopyMs(wish);
  return { method: 'copy', reason, predictedPauseMs, warnings: [copyWarning(wish, predictedPauseMs)] };
}

function predictCopyMs({ dataBytes, bytesPerSecond }: CaptureWish): number | null {
  if (dataBytes === 0) return 0;
  return bytesPerSecond === null ? null : Math.ceil((dataBytes * 1000) / bytesPerSecond);
}

function copyWarning({ dataBytes, budgetMs }: CaptureWish, predictedPauseMs: number | null): string {
  const data = `${(dataBytes / 1024 ** 2).toFixed(1)} MiB of data`;
  if (predictedPauseMs === null)
    return `the guest stands still while ${data} are copied, for a time not known`;
  const budget = predictedPauseMs > budgetMs ? `, over its budget of ${seconds(budgetMs)}` : '';
  return `the guest stands still while ${data} are copied, about ${seconds(predictedPauseMs)}${budget}`;
}

function seconds(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}
