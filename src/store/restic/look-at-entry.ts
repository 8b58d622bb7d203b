import { join } from 'node:path';
import * as z from 'zod';
import { isError } from '../../errors.js';
import { manifestName } from '../layout.js';
import { type Manifest, parseManifest } from '../manifest.js';
import { backingFolder, disksFolder } from './hand-over.js';
import { parseJson, type ResticEntry, resticHash } from './restic-entries.js';
import { dumpError } from './restic-image.js';
import type { ResticProgram } from './restic-program.js';

/**
 * What one of our snapshots in restic is. Incomplete: not all that its manifest names is there. restic makes such a one, and says
 * that all went well, when a file was gone before it came to it; so that is no snapshot, and in no list.
 */
export type Look =
  | { is: 'whole'; manifest: Manifest; tree: string }
  | { is: 'incomplete'; missing: string }
  | { is: 'damaged'; problem: string };

/** The first line of a list tells of the snapshot itself. */
const headSchema = z.object({ tree: resticHash });
const nodeSchema = z.object({ type: z.string(), path: z.string(), size: z.number().default(0) });
/** As much of a `ResticEntry` as it takes; the beginning of an id does. */
type Named = Pick<ResticEntry, 'id' | 'snapshot'>;

/** @throws the errors of a store, and SnapshotDamaged never */
export async function lookAtEntry(restic: ResticProgram, entry: Named, signal?: AbortSignal): Promise<Look> {
  try {
    const { sizes, tree } = await listFiles(restic, entry, signal);
    if (!sizes.has(`/${manifestName}`)) return { is: 'incomplete', missing: manifestName };
    const manifest = parseManifest(await dumpManifest(restic, entry, signal), entry.snapshot);
    const missing = expectedFiles(manifest).find(({ path, sizeBytes }) => sizes.get(path) !== sizeBytes);
    return missing === undefined
      ? { is: 'whole', manifest, tree }
      : { is: 'incomplete', missing: missing.path };
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

async function listFiles(
  restic: ResticProgram,
  { id, snapshot }: Named,
  signal: AbortSignal | undefined,
): Promise<{ tree: string; sizes: Map<string, number> }> {
  const text = await onDamage(restic, snapshot, 'list of files', () =>
    restic.run(['ls', '--json', '--quiet', '--no-lock', id], { signal }),
  );
  const [head, ...nodes] = text.split('\n').filter(Boolean).map(parseLine);
  const { tree } = headSchema.parse(head);
  const files = nodes.map((node) => nodeSchema.parse(node)).filter(({ type }) => type === 'file');
  return { tree, sizes: new Map(files.map(({ path, size }) => [path, size])) };
}

function parseLine(line: string): unknown {
  return parseJson(z.unknown(), line, 'the files of a snapshot');
}

async function dumpManifest(
  restic: ResticProgram,
  { id, snapshot }: Named,
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
