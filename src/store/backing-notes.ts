import { randomBytes } from 'node:crypto';
import type { Stats } from 'node:fs';
import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { errnoOf } from '../errors.js';
import { replaceFile } from '../image/durable-file.js';
import type { Stamp } from '../image/open-disk.js';
import { readSmallFile } from '../path/small-file.js';
import type { ManifestDisk } from './manifest.js';

/** `SHA256.json` beside `SHA256.img`: which files of this host were seen to have this content. */

const bigintText = z.string().regex(/^-?\d+$/);
const noteSchema = z.strictObject({
  /** Of its data alone; not in notes of old. */
  dataSha256: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .optional(),
  sources: z.array(
    z.strictObject({
      dev: bigintText,
      ino: bigintText,
      sizeBytes: z.int().nonnegative(),
      mtimeNs: bigintText,
      ctimeNs: bigintText,
      sourcePath: z.string(),
    }),
  ),
});
type Note = z.infer<typeof noteSchema>;
type Source = Note['sources'][number];

/** What a backing file's content is known by. */
export type BackingDigests = Pick<ManifestDisk, 'sha256' | 'dataSha256'>;

const maxSources = 32;

/** True when the content lies in the store, in its size. */
export async function isStored(directory: string, sha256: string, sizeBytes: number): Promise<boolean> {
  let found: Stats;
  try {
    found = await lstat(join(directory, `${sha256}.img`));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    throw error;
  }
  return found.isFile() && found.size === sizeBytes;
}

/** The content that a file of this identity had; undefined for a file not seen before, or changed since. */
export async function findBySource(directory: string, stamp: Stamp): Promise<BackingDigests | undefined> {
  for (const entry of await readdir(directory)) {
    const sha256 = /^([0-9a-f]{64})\.json$/.exec(entry)?.[1];
    if (sha256 === undefined) continue;
    const { sources, dataSha256 } = await readNote(directory, sha256);
    const wanted = sourceOf(stamp, '');
    const seen = sources.some(
      (source) => JSON.stringify({ ...source, sourcePath: '' }) === JSON.stringify(wanted),
    );
    if (seen && (await isStored(directory, sha256, stamp.sizeBytes))) return { sha256, dataSha256 };
  }
  return undefined;
}

function sourceOf(stamp: Stamp, sourcePath: string): Source {
  return {
    dev: String(stamp.dev),
    ino: String(stamp.ino),
    sizeBytes: stamp.sizeBytes,
    mtimeNs: String(stamp.mtimeNs),
    ctimeNs: String(stamp.ctimeNs),
    sourcePath,
  };
}

/** A note only saves work: one that can't be read says nothing, and is written anew. */
async function readNote(directory: string, sha256: string): Promise<Note> {
  try {
    return noteSchema.parse(JSON.parse(await readSmallFile(join(directory, `${sha256}.json`))));
  } catch {
    return { sources: [] };
  }
}

/** Remembers that this file has this content. Newest first; its older identity is of no more use. */
export async function noteSource(
  directory: string,
  { sha256, dataSha256 }: BackingDigests,
  stamp: Stamp,
  sourcePath: string,
): Promise<void> {
  const { sources } = await readNote(directory, sha256);
  const others = sources.filter((other) => other.sourcePath !== sourcePath);
  const note: Note = { dataSha256, sources: [sourceOf(stamp, sourcePath), ...others].slice(0, maxSources) };
  const temporary = join(directory, `.${sha256}.${randomBytes(4).toString('hex')}`);
  await replaceFile(join(directory, `${sha256}.json`), temporary, `${JSON.stringify(note)}\n`);
}
