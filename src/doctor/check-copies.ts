import { isLagging } from '../alerts/store-lag.js';
import { formatDuration } from '../config/duration.js';
import { countText } from '../error-text.js';
import type { StoreGap } from '../history/overview-queries.js';
import { type Soundness, unsoundWord } from '../store/soundness.js';
import { type Finding, fine, trouble } from './finding.js';

/** A snapshot of ours in a store, as far as it is known. */
export interface KnownCopy {
  snapshot: string;
  store: string;
  takenAt: string;
  soundness: Soundness;
  /** null: never. */
  verifiedAt: string | null;
}

export interface CopiesRecord {
  guest: string;
  /** Newest first. */
  copies: readonly KnownCopy[];
  gaps: readonly StoreGap[];
  /** In what time a schedule reads each copy once; null: there is no such schedule. */
  verifiedWithinMs: number | null;
}

const maxTold = 3;

/**
 * Whether what lies in the stores is what the guest is to be restored from: copies that are damaged, that nobody has ever read again,
 * and stores that lack the last ones. Critical is a snapshot of which no copy is sound: it is there by its name only. Pure.
 */
export function checkCopies({ guest, copies, gaps, verifiedWithinMs }: CopiesRecord, now: Date): Finding {
  const about = { check: 'copies', about: guest } as const;
  const unsound = copies.filter(({ soundness }) => soundness.type !== 'sound');
  const isSoundElsewhere = ({ snapshot }: KnownCopy) =>
    copies.some((one) => one.snapshot === snapshot && one.soundness.type === 'sound');
  const lost = unsound.filter((copy) => !isSoundElsewhere(copy));
  const unread = copies.filter(
    ({ soundness, verifiedAt }) => soundness.type === 'sound' && verifiedAt === null,
  );
  const late = unread.filter(
    ({ takenAt }) => verifiedWithinMs !== null && now.getTime() - Date.parse(takenAt) > verifiedWithinMs,
  );
  const lagging = gaps.filter((gap) => isLagging(gap, now));
  const facts = {
    copies: copies.length,
    unsound: unsound.map(({ snapshot, store, soundness }) => ({ snapshot, store, type: soundness.type })),
    neverVerified: unread.length,
    lagging: lagging.map(({ store, missed }) => ({ store, missed })),
  };
  const troubles = [
    ...unsound.slice(0, maxTold).map(nameOf),
    ...(unsound.length > maxTold ? [`${unsound.length - maxTold} more that are not sound`] : []),
    ...lagging.map(({ store, missed }) => `store ${store} lacks the last ${countText(missed, 'snapshot')}`),
    ...(late.length > 0
      ? [
          `${countText(late.length, 'copy', 'copies')} older than ${formatDuration(verifiedWithinMs ?? 0)} never verified`,
        ]
      : []),
  ];
  if (troubles.length === 0) {
    const read = unread.length === 0 ? '' : `; ${unread.length} never verified`;
    return fine(about, `${countText(copies.length, 'copy', 'copies')} of snapshots${read}.`, facts);
  }
  return trouble(about, {
    level: lost.length > 0 ? 'critical' : 'warning',
    what: `${troubles.join('; ')}.`,
    means:
      lost.length > 0
        ? 'That state of the guest can not be brought back.'
        : 'There are fewer sound copies than the config promises.',
    mend: mendOf(guest, { lost, unsound, lagging, late }),
    facts,
  });
}

const nameOf = ({ snapshot, store, soundness }: KnownCopy) =>
  `${snapshot} in store ${store}: ${soundness.type === 'sound' ? 'sound' : unsoundWord[soundness.type]}`;

function mendOf(
  guest: string,
  {
    lost,
    unsound,
    lagging,
    late,
  }: Record<'lost' | 'unsound' | 'late', KnownCopy[]> & { lagging: StoreGap[] },
): string {
  const healable = unsound.find((copy) => copy.soundness.type === 'damaged' && !lost.includes(copy));
  const steps = [
    healable && `\`umlsnap verify ${healable.snapshot} --heal\` brings it back from its other copy.`,
    lost[0] && `Take a new snapshot, then \`umlsnap remove ${lost[0].snapshot}\`.`,
    lagging[0] && `\`umlsnap history ${guest}\` tells what keeps its backups out of ${lagging[0].store}.`,
    late[0] && `See that the daemon runs, or \`umlsnap verify --guest ${guest}\`.`,
  ];
  return steps.filter(Boolean).join(' ') || `\`umlsnap list ${guest}\` shows them.`;
}
