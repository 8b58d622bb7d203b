import { createHash } from 'node:crypto';
import * as z from 'zod';
import { problemOf, UmlsnapError } from '../errors.js';

/** `manifest.json`: what a snapshot is. Written last, so its presence means that all of its data is durable. */

const plainFileName = z
  .string()
  .min(1)
  .max(128)
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/, 'must be a plain file name');
const sha256 = z.string().regex(/^[0-9a-f]{64}$/, 'must be a SHA-256 in hex');
/** Over the data alone (`DataDigest`), for who would lose time over the zeros of holes. Not in manifests of old. */
const dataSha256 = sha256.optional();

const backingSchema = z.strictObject({
  /** Where the guest's COW header says that it lies. */
  sourcePath: z.string(),
  /** Name inside STORE/.backing, `SHA256.img`. */
  file: plainFileName,
  sizeBytes: z.int().nonnegative(),
  /** ISO 8601; UML compares it in whole seconds. */
  mtime: z.iso.datetime(),
  sha256,
  dataSha256,
});

const diskSchema = z.strictObject({
  device: z.string().regex(/^ubd(?:[0-9]|1[0-5])$/),
  kind: z.enum(['raw', 'cow']),
  sourcePath: z.string(),
  file: plainFileName,
  sizeBytes: z.int().nonnegative(),
  storedBytes: z.int().nonnegative(),
  mtime: z.iso.datetime(),
  sha256,
  dataSha256,
  backing: backingSchema.optional(),
});

/** The state directory that a snapshot belongs to, by its id; the host is told to people, and decides nothing. */
export const ownerSchema = z.strictObject({
  id: z.uuid(),
  host: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, 'must be a plain host name'),
});

export type Owner = z.infer<typeof ownerSchema>;

const text = z.string().max(4096);
const account = z.strictObject({ id: z.int().nonnegative(), name: z.string().max(64).optional() });

/** How the guest was run. What could not be read is not there, and a note says why. */
const definitionSchema = z.strictObject({
  kernelPath: text.optional(),
  kernelSha256: sha256.optional(),
  /** Of its main process, with its own name first. */
  args: z.array(text).max(256).optional(),
  workingDirectory: text.optional(),
  user: account.optional(),
  group: account.optional(),
  environment: z.strictObject({ HOME: text.optional(), TMPDIR: text.optional() }),
  /** What its console answered to `config DEVICE`: the guest's own words. */
  devices: z.record(z.string().regex(/^[a-z]{3}\d{1,2}$/), z.string().max(512)),
  notes: z.array(text).max(32),
});

export type Definition = z.infer<typeof definitionSchema>;

const formats = ['umlsnap/1', 'umlsnap/2'] as const;

const fieldsSchema = z.strictObject({
  /** The first one knows neither an owner nor a definition. */
  format: z.enum(formats),
  snapshot: z.string(),
  guest: z.string(),
  job: z.string(),
  owner: ownerSchema.optional(),
  takenAt: z.iso.datetime(),
  kernel: z.string(),
  consistency: z.enum(['frozen', 'synced', 'crash']),
  dirtyKib: z.int().nonnegative(),
  method: z.string(),
  pausedMs: z.number().nonnegative(),
  labels: z.record(z.string(), z.string()),
  pinned: z.boolean(),
  definition: definitionSchema.optional(),
  disks: z.array(diskSchema).min(1).max(16),
  /** SHA-256 of this manifest as canonical JSON without this key: finds damage even where the history is lost. */
  checksum: sha256,
});

export const manifestSchema = fieldsSchema.refine(
  ({ format, owner, definition }) =>
    format === 'umlsnap/2' ? owner !== undefined : owner === undefined && definition === undefined,
  'an owner belongs to format umlsnap/2, and with a definition to no other',
);

export type Manifest = z.infer<typeof manifestSchema>;
export type ManifestDisk = Manifest['disks'][number];

/** The manifest with its checksum filled in. */
export function sealManifest(manifest: Omit<Manifest, 'checksum'>): Manifest {
  return { ...manifest, checksum: checksumOf(manifest) };
}

/** The manifest with what can change after it was sealed: its pin, its owner, and the name under which another store has it. */
export function amended(
  { checksum: _, ...rest }: Manifest,
  changes: Partial<Pick<Manifest, 'pinned' | 'owner' | 'snapshot'>>,
): Manifest {
  const format = changes.owner === undefined ? rest.format : 'umlsnap/2';
  return sealManifest({ ...rest, format, ...changes });
}

/** What the disks of a snapshot come to: their size for the guest, and what of it the store holds. */
export function sizesOf({ disks }: Pick<Manifest, 'disks'>): { sizeBytes: number; storedBytes: number } {
  return {
    sizeBytes: disks.reduce((sum, disk) => sum + disk.sizeBytes, 0),
    storedBytes: disks.reduce((sum, disk) => sum + disk.storedBytes, 0),
  };
}

/** The text of manifest.json: for a manifest there is exactly one. */
export function formatManifest(manifest: Manifest): string {
  return `${JSON.stringify(manifestSchema.parse(manifest), null, 2)}\n`;
}

/** SHA-256 of manifest.json as it lies in the store: what the history remembers a snapshot by. */
export function manifestSha256(manifest: Manifest): string {
  return createHash('sha256').update(formatManifest(manifest)).digest('hex');
}

/**
 * Whether this manifest is the recorded one, or that with its pin or its owner changed and nothing else: both are durable in the store
 * before the history knows of them, and whoever dies between the two MUST NOT leave a snapshot that looks forged.
 */
export function isRecorded(
  manifest: Manifest,
  foundSha256: string,
  recorded: { manifestSha256: string; owner: Owner | null },
): boolean {
  if (foundSha256 === recorded.manifestSha256) return true;
  const before = recorded.owner ? amended(manifest, { owner: recorded.owner }) : ofFirstFormat(manifest);
  return [manifest, before]
    .flatMap((one) => [one, amended(one, { pinned: !one.pinned })])
    .some((one) => manifestSha256(one) === recorded.manifestSha256);
}

/** As it was before it was adopted. */
function ofFirstFormat({ checksum: _, owner: __, definition: ___, ...rest }: Manifest): Manifest {
  return sealManifest({ ...rest, format: 'umlsnap/1' });
}

/** What was written after us may be whole: it is not ours to tell, and must not look like damage of the store. */
function whyNotRead(text: string, error: unknown): string {
  const newer = /^\{\s*"format":\s*"(umlsnap\/\d{1,4})"/.exec(text)?.[1];
  if (newer !== undefined && !formats.some((format) => format === newer))
    return `a newer umlsnap has written it (${newer}): read it with that one`;
  const issues = error instanceof z.ZodError ? error.issues.slice(0, 3) : [];
  const told = issues.map(({ path, message }) => `${path.join('.') || 'all of it'}: ${message}`);
  return `its manifest can't be read: ${told.join('; ') || problemOf(error)}`;
}

/**
 * Reads manifest.json's text. Anything that is not exactly a sound manifest of this snapshot is refused.
 * @throws SnapshotDamaged
 */
export function parseManifest(text: string, snapshot: string): Manifest {
  let manifest: Manifest;
  try {
    manifest = manifestSchema.parse(JSON.parse(text));
  } catch (error) {
    throw new UmlsnapError('SnapshotDamaged', { snapshot, problem: whyNotRead(text, error) }, error);
  }
  const { checksum, ...rest } = manifest;
  if (checksumOf(rest) !== checksum) {
    throw new UmlsnapError('SnapshotDamaged', {
      snapshot,
      problem: 'its manifest does not match its own checksum',
    });
  }
  // The checksum is of the meaning; this is of the bytes, so that not even a changed blank goes unnoticed.
  if (formatManifest(manifest) !== text) {
    throw new UmlsnapError('SnapshotDamaged', { snapshot, problem: 'its manifest is not as it was written' });
  }
  if (manifest.snapshot !== snapshot) {
    throw new UmlsnapError('SnapshotDamaged', {
      snapshot,
      problem: `its manifest belongs to ${manifest.snapshot}`,
    });
  }
  return manifest;
}

function checksumOf(manifest: Omit<Manifest, 'checksum'>): string {
  return createHash('sha256').update(canonicalJson(manifest)).digest('hex');
}

function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  if (value !== null && typeof value === 'object') {
    const entries = Object.entries(value)
      .filter(([, item]) => item !== undefined)
      .sort(([a], [b]) => (a < b ? -1 : 1));
    return `{${entries.map(([key, item]) => `${JSON.stringify(key)}:${canonicalJson(item)}`).join(',')}}`;
  }
  return JSON.stringify(value);
}
