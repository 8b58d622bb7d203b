import type { ArmedCapture } from '../capture/capture.js';
import type { PrecopyFacts } from '../capture/precopy/precopy-order.js';
import { formatRate } from '../config/size.js';

/** What a precopy tells of itself, so far; null: the capture is by another method. */
export function precopyFactsOf(capture: ArmedCapture): PrecopyFacts | null {
  return capture.method === 'precopy' ? (capture.facts() as unknown as PrecopyFacts) : null;
}

/** For the record of the phase in which the guest runs. */
export function runningFigures(capture: ArmedCapture): Record<string, unknown> {
  const facts = precopyFactsOf(capture);
  if (!facts) return {};
  const { tracker, trackerProblem, precopiedBytes, rounds, converged } = facts;
  const { guestBytesPerSecond, copyBytesPerSecond } = facts;
  return {
    ...{ tracker, trackerProblem, precopiedBytes, rounds, converged },
    ...{ guestBytesPerSecond, copyBytesPerSecond },
  };
}

/** For the record of the phase in which it stands still. */
export function pausedFigures(capture: ArmedCapture): Record<string, unknown> {
  const facts = precopyFactsOf(capture);
  if (!facts) return {};
  const { tracker, pausedBytes, comparedBytes, proof, accountedBytes } = facts;
  return { tracker, pausedBytes, comparedBytes, proof, accountedBytes };
}

/** What did not go as it was hoped for, though the snapshot is good. Pure. */
export function warningsOfPrecopy(facts: PrecopyFacts | null): string[] {
  if (!facts) return [];
  const { trackerProblem, tracker, converged, guestBytesPerSecond, copyBytesPerSecond } = facts;
  const warnings: string[] = [];
  if (trackerProblem !== null) {
    warnings.push(
      `tracing was given up (${trackerProblem}): the disks were compared while the guest stood still`,
    );
  }
  if (tracker === 'traced' && !converged) {
    const rates = `about ${rateOf(guestBytesPerSecond)}, and it was copied at ${rateOf(copyBytesPerSecond)}`;
    warnings.push(
      `the guest wrote faster than it could be copied: ${rates}; the rest was copied right before the pause and in it`,
    );
  }
  // A tracing that was given up may never have come to its rounds: what it says of the guest is told above.
  if (tracker === 'compared' && trackerProblem === null && !converged) {
    const rate = `it was copied at ${rateOf(copyBytesPerSecond)}`;
    warnings.push(
      `the guest wrote faster than it could be copied and compared: ${rate}; the rest was compared and written in the pause`,
    );
  }
  return warnings;
}

const rateOf = (bytesPerSecond: number | null) =>
  bytesPerSecond === null ? 'an unknown rate' : formatRate(bytesPerSecond);
