import { type Finding, fine, trouble } from './finding.js';

/** Something that a dead process of ours has left, and that `recover` deals with. */
export interface Orphan {
  kind: 'lease' | 'freeze' | 'job' | 'incoming' | 'traceInstance' | 'socket' | 'scratch';
  /** For people: what it is, and where. */
  what: string;
  /** A guest may stand still, or be frozen, because of it. */
  holdsGuest: boolean;
}

const about = { check: 'orphans', about: null } as const;
const maxTold = 5;

/** What is left of dead processes: harmless room and names, or a guest that may be paused. */
export function checkOrphans(orphans: readonly Orphan[]): Finding {
  if (orphans.length === 0) return fine(about, 'Nothing is left of dead processes.');
  const held = orphans.filter(({ holdsGuest }) => holdsGuest);
  const told = [...held, ...orphans.filter(({ holdsGuest }) => !holdsGuest)].map(({ what }) => what);
  const more = told.length > maxTold ? ` and ${told.length - maxTold} more` : '';
  return trouble(about, {
    level: held.length > 0 ? 'critical' : 'warning',
    what: `Left by dead processes: ${told.slice(0, maxTold).join('; ')}${more}.`,
    means:
      held.length > 0
        ? 'A GUEST MAY STAND STILL because of it.'
        : 'It takes room or time, and nothing else: no guest is held by it.',
    mend: 'umlsnap recover',
    facts: { orphans },
  });
}
