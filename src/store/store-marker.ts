import { randomBytes, randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import { access, link, lstat, readdir, realpath, rm } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import * as z from 'zod';
import { errnoOf, problemOf, UmlsnapError } from '../errors.js';
import { ensureDirectories, ensureDirectory, syncDirectory, writeNewFile } from '../image/durable-file.js';
import { isPathError } from '../path/held-directory.js';
import { requireOwnPlace } from '../path/own-place.js';
import { readSmallFile } from '../path/small-file.js';
import { markerPath, type StorePlace } from './layout.js';

/**
 * The marker file proves that a directory is the store, and not the empty mount point under it: without the proof,
 * snapshots would fill the host's root and be hidden by the next mount.
 */

const format = 'umlsnap-store/1';
const markerSchema = z.strictObject({ format: z.literal(format), id: z.uuid() });

/**
 * Finds the store's id, or makes an absent or empty directory a store when no id is known of it yet.
 * @throws StoreNotMounted, StoreUnusable
 */
export async function prepareStore(
  place: StorePlace,
  expectedId: string | null,
): Promise<{ id: string; created: boolean }> {
  const { there, id } = await findMounted(place, expectedId);
  if (id === undefined) return initialise(place, there);
  await requireWritable(place);
  return { id, created: false };
}

/**
 * The id of the store that is mounted, for reading from it; undefined where none was ever made. Makes nothing.
 * @throws StoreNotMounted, StoreUnusable
 */
export async function mountedStore(
  place: StorePlace,
  expectedId: string | null,
): Promise<string | undefined> {
  return (await findMounted(place, expectedId)).id;
}

async function findMounted(
  place: StorePlace,
  expectedId: string | null,
): Promise<{ there: boolean; id: string | undefined }> {
  const there = await requireDirectory(place, expectedId);
  const id = there ? await readMarker(place) : undefined;
  if (id === undefined && expectedId !== null) throw notMounted(place, 'its marker file is not there');
  if (id !== undefined && expectedId !== null && id !== expectedId) {
    throw notMounted(place, `another store is mounted there (${id} instead of ${expectedId})`);
  }
  return { there, id };
}

/** False when nothing is there and that is in order. */
async function requireDirectory(place: StorePlace, expectedId: string | null): Promise<boolean> {
  const real = await realpath(place.path).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw unusable(place, problemOf(error), error);
  });
  if (real === undefined) {
    if (expectedId !== null) throw notMounted(place, 'there is no such directory');
    await requireParent(place);
    return false;
  }
  if (real !== resolve(place.path)) throw behindLink(place, real);
  if (!(await lstat(place.path)).isDirectory()) throw unusable(place, 'it is not a directory');
  await requireOurs(place);
  return true;
}

async function requireParent(place: StorePlace): Promise<void> {
  const parent = dirname(place.path);
  const real = await realpath(parent).catch((error: unknown) => {
    if (place.makesParents && errnoOf(error) === 'ENOENT') return undefined;
    throw unusable(place, `its parent directory can't be used: ${problemOf(error)}`, error);
  });
  if (real !== undefined && real !== resolve(parent)) throw behindLink(place, real);
  await requireOurs(place);
}

/** Whoever can change the store, or its path, would lead root's hand. Below it all is ours, and used by its path. */
async function requireOurs(place: StorePlace): Promise<void> {
  try {
    await requireOwnPlace(place.path);
  } catch (error) {
    if (!isPathError(error)) throw error;
    throw unusable(place, problemOf(error), error);
  }
}

/** The store's id; undefined where there is no marker. @throws StoreUnusable */
export async function readMarker(place: StorePlace): Promise<string | undefined> {
  let text: string;
  try {
    text = await readSmallFile(markerPath(place));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw unusable(place, `its marker file can't be read: ${problemOf(error)}`, error);
  }
  try {
    return markerSchema.parse(JSON.parse(text)).id;
  } catch (error) {
    throw unusable(place, `its marker file is damaged: ${problemOf(error)}`, error);
  }
}

/** access(2) tells a read-only filesystem even to root. */
async function requireWritable(place: StorePlace): Promise<void> {
  try {
    await access(place.path, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    throw unusable(place, problemOf(error), error);
  }
}

/** Enough for a filesystem that keeps a few bytes in the inode. */
const probeBytes = 4096;

/** Writes a file beside the marker, durably, and removes it. @throws ENOSPC, EROFS and the like */
export async function proveWritable(place: StorePlace): Promise<void> {
  const probe = `${markerPath(place)}.${randomBytes(4).toString('hex')}`;
  try {
    await writeNewFile(probe, 'x'.repeat(probeBytes));
  } finally {
    await rm(probe, { force: true });
  }
}

/** The marker MUST be durable before anything else is written into the store. */
async function initialise(place: StorePlace, there: boolean): Promise<{ id: string; created: boolean }> {
  const marker = markerPath(place);
  const temporary = `${marker}.${randomBytes(4).toString('hex')}`;
  try {
    if (there) await requireEmpty(place);
    if (place.makesParents) {
      await ensureDirectories(dirname(place.path));
      await requireParent(place);
    }
    await ensureDirectory(place.path);
    await writeNewFile(temporary, `${JSON.stringify({ format, id: randomUUID() })}\n`);
    const created = await linkUnlessThere(temporary, marker);
    await rm(temporary);
    await syncDirectory(place.path);
    const id = await readMarker(place);
    if (id === undefined) throw unusable(place, 'its marker file was removed at once');
    return { id, created };
  } catch (error) {
    if (error instanceof UmlsnapError) throw error;
    throw unusable(place, problemOf(error), error);
  }
}

/** Of two processes that initialise the same store, the second takes the first one's id. */
async function linkUnlessThere(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return false;
    throw error;
  }
}

/** A fresh filesystem has its lost+found; a marker cut short is our own. */
async function requireEmpty(place: StorePlace): Promise<void> {
  await requireWritable(place);
  const foreign = (await readdir(place.path)).find(
    (entry) => entry !== 'lost+found' && !entry.startsWith('.umlsnap-store'),
  );
  if (foreign === undefined) return;
  throw unusable(place, `it is no store yet, and not empty (${foreign} is there): give an empty directory`);
}

function behindLink(place: StorePlace, real: string): UmlsnapError {
  return unusable(place, `its path leads through a symbolic link: give ${real}`);
}

function unusable(place: StorePlace, problem: string, cause?: unknown): UmlsnapError {
  return new UmlsnapError('StoreUnusable', { store: place.name, path: place.path, problem }, cause);
}

function notMounted(place: StorePlace, problem: string): UmlsnapError {
  return new UmlsnapError('StoreNotMounted', { store: place.name, path: place.path, problem });
}
