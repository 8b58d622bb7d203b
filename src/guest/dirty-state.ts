/** What the guest holds in memory and has not yet written to its disks, from its own counters. */
export interface DirtyState {
  /** Dirty and under write-back, in KiB: exactly what a copy of the disks made now would miss of the files' data. */
  dirtyKib: number;
  /** Requests that the guest's block layer has sent and not seen completed, over all ubd disks. */
  inFlight: number;
  /** Requests completed since boot, over all ubd disks: stands still while nothing is written. */
  completedWrites: number;
}

/** UML's pages are 4 KiB on every architecture that it exists for. */
const kibPerPage = 4;

/** The consistency that a stop in this state gives a snapshot, design §3. A guest without agent can't be `frozen`. */
export function consistencyOf(state: DirtyState): 'synced' | 'crash' {
  return state.dirtyKib === 0 && state.inFlight === 0 ? 'synced' : 'crash';
}

/**
 * Reads `proc vmstat` and `proc diskstats`, both of which answer while the guest is stopped (uml-facts §2). On one
 * CPU the counters are exact: there are no per-CPU deltas.
 * @param devices `ubd0` …: what a disk outside the snapshot does, a swap disk for one, is of no interest
 * @returns undefined when the texts are not what a Linux guest says
 */
export function parseDirtyState(
  vmstat: string,
  diskstats: string,
  devices: string[],
): DirtyState | undefined {
  const names = devices.map(kernelNameOf);
  const dirty = counter(vmstat, 'nr_dirty');
  const writeback = counter(vmstat, 'nr_writeback');
  const disks = diskstats
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter((field) => names.includes(field[2] ?? ''));
  if (dirty === undefined || writeback === undefined || disks.length === 0) return undefined;
  const completedWrites = sumOf(disks.map((field) => field[7]));
  const inFlight = sumOf(disks.map((field) => field[11]));
  if (completedWrites === undefined || inFlight === undefined) return undefined;
  return { dirtyKib: (dirty + writeback) * kibPerPage, completedWrites, inFlight };
}

function counter(vmstat: string, name: string): number | undefined {
  return toCount(new RegExp(`^${name} (\\S+)$`, 'm').exec(vmstat)?.[1]);
}

/** Undefined when one of them is no count: a disk of minus one request under way would hide another's. */
function sumOf(counts: (string | undefined)[]): number | undefined {
  return counts
    .map(toCount)
    .reduce((total, count) => (total === undefined || count === undefined ? undefined : total + count), 0);
}

/** At most 14 digits: sums of such counts are exact. */
function toCount(text: string | undefined): number | undefined {
  return text !== undefined && /^\d{1,14}$/.test(text) ? Number(text) : undefined;
}

/** `ubda` of `ubd0` (uml-facts §4). */
function kernelNameOf(device: string): string {
  return `ubd${String.fromCharCode('a'.charCodeAt(0) + Number(device.slice('ubd'.length)))}`;
}
