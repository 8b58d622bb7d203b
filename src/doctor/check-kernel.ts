import { type Finding, fine, trouble } from './finding.js';

/** What a stop and go may do to a guest of this kernel. */
export type StopFitness = 'fit' | 'mayLoseConsole' | 'tooOld' | 'unknown';

/**
 * What its version says of a guest's stop and go. By uml-facts, fact 9: kernels 4.16 to 5.17 without the fix 1a3a6a2a035b lose
 * their mconsole after the first one; fact 11: before 2.6.19 any malformed request resumes a stopped guest. A version can't say
 * whether a stable release has the fix. Pure.
 * @param kernel what it answers to `version`: `Linux NODE RELEASE VERSION MACHINE`
 */
export function stopFitnessOf(kernel: string): StopFitness {
  const [, major, minor = '0', patch = '0'] = /^Linux \S+ (\d+)\.(\d+)(?:\.(\d+))?/.exec(kernel) ?? [];
  if (major === undefined) return 'unknown';
  const version = [Number(major), Number(minor), Number(patch)];
  if (isBefore(version, [2, 6, 19])) return 'tooOld';
  return !isBefore(version, [4, 16, 0]) && isBefore(version, [5, 18, 0]) ? 'mayLoseConsole' : 'fit';
}

function isBefore(version: readonly number[], other: readonly number[]): boolean {
  const at = version.findIndex((part, index) => part !== other[index]);
  return at !== -1 && (version[at] ?? 0) < (other[at] ?? 0);
}

export function checkKernel(guest: string, kernel: string): Finding {
  const about = { check: 'kernel', about: guest } as const;
  const facts = { kernel };
  switch (stopFitnessOf(kernel)) {
    case 'fit':
      return fine(about, `${kernel.slice(0, 80)}: stop and go are sound in this version.`, facts);
    case 'mayLoseConsole':
      return trouble(about, {
        level: 'warning',
        what: `${kernel}: versions 4.16 to 5.17 lose their management console after the first stop and go, unless they have the fix 1a3a6a2a035b.`,
        means:
          'The first backup succeeds, and every later one fails until the guest is booted again. The guest itself runs on.',
        mend: 'Boot the guest with a kernel from 5.18 on, or a stable release that has the fix. Here it is not tried out.',
        facts,
      });
    case 'tooOld':
      return trouble(about, {
        level: 'critical',
        what: `${kernel}: in versions before 2.6.19 any unknown request resumes a stopped guest.`,
        means: 'Whoever else talks to its console ends a pause unseen, and the snapshot is void.',
        mend: 'Boot the guest with a kernel from 2.6.19 on.',
        facts,
      });
    case 'unknown':
      return trouble(about, {
        level: 'unknown',
        what: `It says of its kernel: ${kernel.slice(0, 200)}, which is no version.`,
        means: 'Whether its stop and go are sound is not known, and not tried out.',
        mend: 'See what listens at its socket: `umlsnap discover`.',
        facts,
      });
  }
}
