import type { CaptureFacts } from '../capture/capture.js';
import { formatRate } from '../config/size.js';

/** For the record of the phase in which the guest runs. */
export function runningFigures(facts: CaptureFacts | null): Record<string, unknown> {
  if (!facts?.tracker) return {};
  const { tracker, trackerProblem, precopiedBytes, rounds, converged } = facts;
  const { guestBytesPerSecond, copyBytesPerSecond } = facts;
  return {
    ...{ tracker, trackerProblem, precopiedBytes, rounds, converged },
    ...{ guestBytesPerSecond, copyBytesPerSecond },
  };
}

/** For the record of the phase in which it stands still. */
export function pausedFigures(facts: CaptureFacts): Record<string, unknown> {
  if (!facts.tracker) return {};
  const { tracker, pausedBytes, comparedBytes, proof, accountedBytes } = facts;
  return { tracker, pausedBytes, comparedBytes, proof, accountedBytes };
}

/** What did not go as it was hoped for, though the snapshot is good. Pure. */
export function warningsOfPrecopy(facts: CaptureFacts | null): string[] {
  if (!facts) return [];
  const { trackerProblem, tracker, converged, guestBytesPerSecond, copyBytesPerSecond } = facts;
  const warnings: string[] = [];
  if (trackerProblem !== null) {
    warnings.push(
      `tracing was given up (${trackerProblem}): the disks were ${tracker === null ? 'shared' : 'compared'} while the guest stood still`,
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
