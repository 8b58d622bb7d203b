import { compactUtc } from '../clock.js';
import { UmlsnapError } from '../errors.js';
import type { Ownership, SnapshotRecord } from '../history/records.js';
import type { StoredBacking } from '../store/backing-files.js';
import { type Definition, type Manifest, manifestSha256, type Owner, sizesOf } from '../store/manifest.js';
import type { SealDisk, SealDraft } from '../store/seal.js';
import type { Captured } from './capture-consistently.js';
import { fileNameOf, type SourceDisk } from './source-disks.js';

export interface SnapshotFacts {
  guest: string;
  job: string;
  owner: Owner;
  kernel: string;
  definition: Definition;
  method: string;
  labels: Record<string, string>;
  pinned: boolean;
  captured: Captured;
  disks: SourceDisk[];
  /** By device. */
  backings: Map<string, StoredBacking>;
}

/** `debian@20261121T031500Z`: named by the second in which the guest was stopped. */
export function snapshotName(guest: string, takenAt: Date): string {
  return `${guest}@${compactUtc(takenAt)}`;
}

/** What the store is to seal. */
export function draftOf(facts: SnapshotFacts): SealDraft {
  const { captured, guest, job, owner, kernel, definition, method, labels, pinned } = facts;
  return {
    format: 'umlsnap/2',
    snapshot: snapshotName(guest, captured.takenAt),
    guest,
    job,
    owner,
    takenAt: captured.takenAt.toISOString(),
    kernel,
    consistency: captured.consistency,
    dirtyKib: captured.dirty.dirtyKib,
    method,
    pausedMs: captured.pausedMs,
    labels,
    pinned,
    definition,
    disks: facts.disks.map((disk) => sealDiskOf(facts, disk)),
  };
}

function sealDiskOf(facts: SnapshotFacts, { config }: SourceDisk): SealDisk {
  const captured = facts.captured.disks.get(config.device);
  if (!captured) throw new UmlsnapError('Internal', { problem: `disk ${config.device} was not captured` });
  const backing = facts.backings.get(config.device);
  return {
    device: config.device,
    kind: config.backing === undefined ? 'raw' : 'cow',
    sourcePath: config.path,
    file: fileNameOf(config),
    sizeBytes: captured.source.sizeBytes,
    mtime: new Date(Number(captured.source.mtimeNs / 1_000_000n)).toISOString(),
    stamp: captured.target,
    ...(backing && { backing }),
  };
}

/**
 * The history's row of a snapshot that lies in a store: made of what lies there alone, so that it can be rebuilt.
 * @param storedBytes what it takes there; null: not to be known, and the data of its images stands in its place
 */
export function recordOf(
  store: string,
  manifest: Manifest,
  ownership: Ownership['type'],
  storedBytes: number | null = null,
): SnapshotRecord {
  const sizes = sizesOf(manifest);
  return {
    snapshot: manifest.snapshot,
    store,
    guest: manifest.guest,
    job: manifest.job,
    takenAt: manifest.takenAt,
    consistency: manifest.consistency,
    dirtyKib: manifest.dirtyKib,
    method: manifest.method,
    pausedMs: manifest.pausedMs,
    sizeBytes: sizes.sizeBytes,
    storedBytes: storedBytes ?? sizes.storedBytes,
    pinned: manifest.pinned,
    labels: manifest.labels,
    manifestSha256: manifestSha256(manifest),
    own: ownership === 'own',
    owner: manifest.owner ?? null,
  };
}
