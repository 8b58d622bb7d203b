import { bitFlip } from './bit-flip.js';
import type { Campaign } from './campaign.js';
import { killAnywhere } from './kill-anywhere.js';
import { compare, frozen, powerCuts, pruneKill, restoreKill, yearOfHours } from './test-files.js';

/** All that there is, in the order in which it is run: what takes a while comes last. */
export const campaigns: readonly Campaign[] = [
  ...[yearOfHours, bitFlip, pruneKill, restoreKill],
  ...[...powerCuts, frozen, compare, killAnywhere],
];
