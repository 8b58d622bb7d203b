import { type ChosenCapture, chooseCapture } from '../capture/choose-capture.js';
import { probeReflink } from '../capture/probe-reflink.js';
import type { GuestConfig } from '../config/config.js';
import { formatSize } from '../config/size.js';
import { countDataBytes } from '../image/sparse-copy.js';
import type { TracingLook, TracingNeed } from './check-tracing.js';
import { type Finding, fine, trouble } from './finding.js';
import { nearestDirectory } from './nearest-directory.js';
import type { OpenDisks } from './open-disks.js';

export interface CaptureLook {
  chosen: ChosenCapture;
  /** What the disks hold: holes don't count. */
  dataBytes: number;
  /** Whether each disk shares blocks with its store. */
  reflink: { device: string; works: boolean; reason: string | null }[];
}

/** How this guest would be captured into a directory, which may not be there yet; by files without a name that leave nothing. */
export async function lookAtCapture(
  config: GuestConfig,
  disks: OpenDisks,
  storePath: string,
  tracing: TracingLook,
): Promise<CaptureLook> {
  const directory = nearestDirectory(storePath);
  const probes = await Promise.all(
    disks.map(async ({ config: { device }, image }) => ({
      device,
      probe: await probeReflink(image.handle.fd, directory),
    })),
  );
  let dataBytes = 0;
  for (const { image } of disks) dataBytes += await countDataBytes(image.handle.fd, {});
  const chosen = chooseCapture({
    ...{ wanted: config.capture, wantedTracker: config.precopyTracker, reflink: probes, dataBytes },
    tracing: tracing.works ? { works: true } : { works: false, reason: tracing.reason ?? '' },
    ...{ pauseTargetMs: config.pauseTargetMs, budgetMs: config.pauseBudgetMs, bytesPerSecond: null },
  });
  const reflink = probes.map(({ device, probe }) => ({
    ...{ device, works: probe.works },
    reason: probe.works ? null : probe.reason,
  }));
  return { chosen, dataBytes, reflink };
}

/** How badly this guest wants writes to be traced. */
export function tracingNeedOf(config: GuestConfig, { reflink }: CaptureLook): TracingNeed {
  const { name: guest, capture, precopyTracker } = config;
  const sharesBlocks = reflink.every(({ works }) => works);
  const isPrecopy = capture === 'precopy' || (capture === 'auto' && !sharesBlocks);
  if (!isPrecopy || precopyTracker === 'compared') return { guest, need: 'none' };
  return { guest, need: precopyTracker === 'traced' ? 'required' : 'useful' };
}

/** Whether the guest stands still for milliseconds only, whatever its size, or as the config wants it. */
export function checkCapture(config: GuestConfig, store: string, look: CaptureLook): Finding {
  const about = { check: 'capture', about: config.name } as const;
  const { chosen, dataBytes, reflink } = look;
  if ('impossible' in chosen) {
    return trouble(about, {
      level: 'critical',
      what: `Can't be captured by ${config.capture} into store ${store}: ${chosen.impossible}.`,
      means: 'It is not backed up.',
      mend: 'Put the store on the filesystem of the disks (XFS or btrfs), or set `capture: auto`.',
      facts: { reflink, dataBytes },
    });
  }
  const { method, tracker, reason } = chosen;
  const facts = { method, tracker, reason, reflink, dataBytes };
  const by = tracker === null ? method : `${method} (${tracker})`;
  if (method === 'reflink' || tracker === 'traced') {
    return fine(about, `Would be captured by ${by}, for a pause of milliseconds: ${reason}.`, facts);
  }
  const isAskedFor = config.capture === 'copy' || config.precopyTracker === 'compared';
  if (isAskedFor) return fine(about, `Would be captured by ${by}, as the config wants it.`, facts);
  return trouble(about, {
    level: 'warning',
    what: `Would be captured by ${by}: ${reason}.`,
    means: `It stands still while ${formatSize(dataBytes)} are ${method === 'copy' ? 'copied' : 'compared'}; \`umlsnap snapshot ${config.name} --dry-run\` measures for how long.`,
    mend: 'Put the store on the XFS or btrfs that the disks lie on (`cp --reflink=always` between them works then), or run as root where writes can be traced.',
    facts,
  });
}
