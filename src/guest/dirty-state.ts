import { UmlsnapError } from '../errors.js';

/** What the guest holds in memory and has not yet written to its disks, from its own counters. */
export interface DirtyState {
  /** Dirty and under write-back, in KiB: exactly what a copy of the disks made now would miss of the files' data. */
  dirtyKib: number;
  /** Requests that the guest's block layer has sent and not seen completed, over all ubd disks. */
  inFlight: number;
  /** Requests completed since boot, over all ubd disks: stands still while nothing is written. */
  completedWrites: number;
  /** The same by disk, in the order in which they were asked for. */
  diskWrites: number[];
}

/** UML's pages are 4 KiB on every architecture that it exists for. */
const kibPerPage = 4;

/** How a guest was when it was stopped, as far as that was known before. */
export type Readiness =
  /** Nothing was dirty at the last look, and its disks had been still since a sync, up to so many completed writes. */
  | { type: 'clean'; completedWrites: number }
  /** It wrote on for as long as was waited for it. */
  | { type: 'busy' };

/** Nothing that has to be written, and nothing on its way. */
export function isClean(state: DirtyState): boolean {
  return state.dirtyKib === 0 && state.inFlight === 0;
}

/**
 * What a stop in this state proves of the counters. That the guest was frozen besides is known only after its thaw, and so it counts
 * for nothing here: a freeze that was let go before the stop leaves a guest that writes. Counters at 0 alone MUST NOT count as `synced`:
 * between the write of a file's data and the commit of its size to the journal they are 0 as well (in 4 of 10 syncs of a guest that
 * appends to a file all the time), and a power cut, or a copy, then loses the data. So the disks have to have been still since a sync,
 * and nothing may have been written since the look that said so.
 */
export function consistencyOf(state: DirtyState, readiness: Readiness): 'synced' | 'crash' {
  const isWritten = readiness.type === 'clean' && readiness.completedWrites === state.completedWrites;
  return isWritten && isClean(state) ? 'synced' : 'crash';
}

/**
 * The disks that completed writes between two looks. To which of them the dirty pages belong no counter tells: these are counted
 * over all.
 * @param devices in the order in which they were asked for
 */
export function writtenDisks(devices: string[], before: DirtyState, after: DirtyState): string[] {
  return devices.filter((_, disk) => before.diskWrites[disk] !== after.diskWrites[disk]);
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
  const diskWrites = names.map((name) =>
    sumOf(disks.filter((field) => field[2] === name).map((field) => field[7])),
  );
  if (dirty === undefined || writeback === undefined || disks.length === 0) return undefined;
  const known = diskWrites.filter((count) => count !== undefined);
  const inFlight = sumOf(disks.map((field) => field[11]));
  if (known.length < names.length || inFlight === undefined) return undefined;
  const completedWrites = known.reduce((total, count) => total + count, 0);
  return { dirtyKib: (dirty + writeback) * kibPerPage, completedWrites, diskWrites: known, inFlight };
}

/** A guest whose counters are not what a Linux guest says. */
export function countersLacking(socketPath: string): UmlsnapError<'ReplyMalformed'> {
  const problem = 'its vmstat or diskstats lacks the counters of dirty pages or of ubd disks';
  return new UmlsnapError('ReplyMalformed', { socketPath, command: 'proc vmstat', problem });
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
