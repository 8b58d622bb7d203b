import { join } from 'node:path';
import { z } from 'zod';
import { isError, UmlsnapError } from '../../errors.js';
import { manifestName } from '../layout.js';
import { type Manifest, parseManifest } from '../manifest.js';
import { backingFolder, disksFolder } from './hand-over.js';
import type { ResticEntry } from './restic-entries.js';
import { dumpError } from './restic-image.js';
import type { ResticProgram } from './restic-program.js';

/**
 * What one of our snapshots in restic is. Incomplete: not all that its manifest names is there. restic makes such a one, and says
 * that all went well, when a file was gone before it came to it; so that is no snapshot, and in no list.
 */
export type Look =
  | { is: 'whole'; manifest: Manifest }
  | { is: 'incomplete'; missing: string }
  | { is: 'damaged'; problem: string };

const nodeSchema = z.object({ type: z.string(), path: z.string(), size: z.number().optional() });

/** @throws the errors of a store, and SnapshotDamaged never */
export async function lookAtEntry(
  restic: ResticProgram,
  entry: ResticEntry,
  signal?: AbortSignal,
): Promise<Look> {
  try {
    const sizes = await fileSizes(restic, entry, signal);
    if (!sizes.has(`/${manifestName}`)) return { is: 'incomplete', missing: manifestName };
    const manifest = parseManifest(await dumpManifest(restic, entry, signal), entry.snapshot);
    const missing = expectedFiles(manifest).find(({ path, sizeBytes }) => sizes.get(path) !== sizeBytes);
    return missing === undefined ? { is: 'whole', manifest } : { is: 'incomplete', missing: missing.path };
  } catch (error) {
    if (isError(error, 'SnapshotDamaged')) return { is: 'damaged', problem: error.facts.problem };
    throw error;
  }
}

/** Where a disk's file lies inside of restic's snapshot. */
export const diskPath = (file: string) => `/${join(disksFolder, file)}`;
/** Where a backing file lies inside of restic's snapshot. */
export const backingPath = (file: string) => `/${join(backingFolder, file)}`;

function expectedFiles({ disks }: Manifest): { path: string; sizeBytes: number }[] {
  return disks.flatMap(({ file, sizeBytes, backing }) => [
    { path: diskPath(file), sizeBytes },
    ...(backing ? [{ path: backingPath(backing.file), sizeBytes: backing.sizeBytes }] : []),
  ]);
}

async function fileSizes(
  restic: ResticProgram,
  { id, snapshot }: ResticEntry,
  signal: AbortSignal | undefined,
): Promise<Map<string, number>> {
  const text = await onDamage(restic, snapshot, 'list of files', () =>
    restic.run(['ls', '--json', '--quiet', '--no-lock', id], { signal }),
  );
  const sizes = new Map<string, number>();
  for (const line of text.split('\n').filter(Boolean)) {
    // The first line tells of the snapshot itself.
    const node = nodeSchema.safeParse(parseLine(line));
    if (node.success && node.data.type === 'file') sizes.set(node.data.path, node.data.size ?? 0);
  }
  return sizes;
}

function parseLine(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    throw new UmlsnapError('Internal', {
      problem: `restic wrote a file that is not known: ${line.slice(0, 200)}`,
    });
  }
}

async function dumpManifest(
  restic: ResticProgram,
  { id, snapshot }: ResticEntry,
  signal: AbortSignal | undefined,
): Promise<string> {
  return await onDamage(restic, snapshot, manifestName, () =>
    restic.run(['dump', '--quiet', '--no-lock', id, `/${manifestName}`], { signal }),
  );
}

async function onDamage<T>(
  restic: ResticProgram,
  snapshot: string,
  what: string,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw await dumpError(restic, { snapshot, path: `/${what}` }, error);
  }
}
