/** Whether the guest's disks are copied once more while it runs, or what is left is for the pause. Pure. */

/** A round that is over. */
export interface Round {
  copiedBytes: number;
  /** With all waiting: for the rate limit, and for the store to write. */
  elapsedMs: number;
  /** By the guest meanwhile. What the round had no time for, of what was left before, is none of it. */
  outdatedBytes: number;
}

export interface ConvergenceLimits {
  pauseTargetMs: number;
  maxRounds: number;
  /** All rounds together: no other begins when it is over. */
  maxElapsedMs: number;
}

export type Decision =
  | { next: 'round' }
  | { next: 'pause'; because: 'smallEnough' | 'notShrinking' | 'roundsUsedUp' };

/** A round in which the guest outdated more than this share of what was copied has brought us no nearer. */
const shrunkShare = 0.8;
const maxVainRounds = 2;

/**
 * @param leftBytes what must be copied still
 * @param bytesPerSecond how fast that would go during the pause; null: not known, and so a round is to tell
 */
export function decideRound(
  rounds: Round[],
  leftBytes: number,
  bytesPerSecond: number | null,
  limits: ConvergenceLimits,
): Decision {
  if (leftBytes === 0) return { next: 'pause', because: 'smallEnough' };
  if (bytesPerSecond !== null && (leftBytes * 1000) / bytesPerSecond <= limits.pauseTargetMs) {
    return { next: 'pause', because: 'smallEnough' };
  }
  const lastRounds = rounds.slice(-maxVainRounds);
  if (lastRounds.length === maxVainRounds && lastRounds.every(isVain)) {
    return { next: 'pause', because: 'notShrinking' };
  }
  const elapsedMs = rounds.reduce((sum, round) => sum + round.elapsedMs, 0);
  const mayGoOn = rounds.length < limits.maxRounds && elapsedMs < limits.maxElapsedMs;
  return mayGoOn ? { next: 'round' } : { next: 'pause', because: 'roundsUsedUp' };
}

function isVain({ copiedBytes, outdatedBytes }: Round): boolean {
  return outdatedBytes > copiedBytes * shrunkShare;
}

/** A pass that compared while the guest ran. */
export interface ComparedPass {
  comparedBytes: number;
  writtenBytes: number;
}

/** What has to be written may add about this share to what has to be read anyway. */
const smallDifference = 0.1;
const maxPasses = 3;

/** As `decideRound`, where nobody follows the guest's writes: a pass reads everything, so only few are worth it. */
export function decidePass(passes: ComparedPass[]): Decision {
  const last = passes.at(-1);
  if (last === undefined) return { next: 'round' };
  if (last.writtenBytes <= last.comparedBytes * smallDifference) {
    return { next: 'pause', because: 'smallEnough' };
  }
  const before = passes.at(-2);
  if (before !== undefined && last.writtenBytes > before.writtenBytes * shrunkShare) {
    return { next: 'pause', because: 'notShrinking' };
  }
  return passes.length < maxPasses ? { next: 'round' } : { next: 'pause', because: 'roundsUsedUp' };
}
