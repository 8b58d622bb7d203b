import { existsSync } from 'node:fs';
import { probeTracing } from '../capture/tracing/probe-tracing.js';
import { mountedTracefs, usualPlace } from '../capture/tracing/tracefs.js';
import { type Finding, fine, trouble } from './finding.js';

const about = { check: 'tracing', about: null } as const;

export interface TracingLook {
  /** Where tracefs is mounted. */
  mounted: string | null;
  works: boolean;
  /** Why not. */
  reason: string | null;
}

/**
 * Tries whether writes can be traced, as a precopy does. Mounts nothing: where tracefs is not mounted and root may mount it,
 * the first precopy does, and what can be known before that is whether there is a place for it.
 */
export async function lookAtTracing(): Promise<TracingLook> {
  const mounted = mountedTracefs() ?? null;
  if (mounted === null && existsSync(usualPlace)) {
    if (process.geteuid?.() === 0) return { mounted, works: true, reason: null };
    return {
      mounted,
      works: false,
      reason: `tracefs is not mounted: mount -t tracefs tracefs ${usualPlace}, as root`,
    };
  }
  const probe = await probeTracing();
  return probe.works
    ? { mounted, works: true, reason: null }
    : { mounted, works: false, reason: probe.reason };
}

/** How badly tracing is wanted: `required` by a guest's config, `useful` where there is no reflink, or neither. */
export type TracingNeed = { guest: string; need: 'required' | 'useful' | 'none' };

export function checkTracing(look: TracingLook, needs: readonly TracingNeed[]): Finding {
  const guestsWith = (need: TracingNeed['need']) =>
    needs.filter((one) => one.need === need).map(({ guest }) => guest);
  const [required, useful] = [guestsWith('required'), guestsWith('useful')];
  const facts = { ...look, required, useful };
  if (look.works && look.mounted === null) {
    return fine(about, 'tracefs is not mounted now, and will be by the first traced precopy.', facts);
  }
  if (look.works) {
    return fine(about, `Writes can be traced (tracefs at ${look.mounted}, events and fanotify work).`, facts);
  }
  const what = `Writes can't be traced: ${look.reason}.`;
  if (required.length + useful.length === 0)
    return fine(about, `${what} No guest of this config needs it.`, facts);
  return trouble(about, {
    level: required.length > 0 ? 'critical' : 'warning',
    what,
    means:
      required.length > 0
        ? `The config asks for precopyTracker: traced, so these guests can't be backed up: ${required.join(', ')}.`
        : `These guests stand still while all of their data is compared, and not for some milliseconds: ${useful.join(', ')}.`,
    mend: 'Do what the reason says; umlsnap needs root, tracefs, fanotify, and a kernel with CONFIG_FTRACE_SYSCALLS on x86-64. Or put the store on the XFS or btrfs that the disks lie on.',
    facts,
  });
}
