import { readdir } from 'node:fs/promises';
import { resolve } from 'node:path';
import * as z from 'zod';
import { followPath } from '../../config/follow-links.js';
import { errnoOf, isError, problemOf, UmlsnapError } from '../../errors.js';
import { PathRefused } from '../../path/held-directory.js';
import { requireOwnPlace } from '../../path/own-place.js';
import { parseJson } from './restic-entries.js';
import { failureOf } from './restic-failure.js';
import { localDirectory } from './restic-place.js';
import type { ResticProgram } from './restic-program.js';

const configSchema = z.object({ id: z.string().min(1) });

/**
 * The id of the repository, which restic gave it; undefined where there is none and none is expected. Makes nothing.
 * @throws StoreNotMounted, StoreUnusable
 */
export async function findRepository(
  restic: ResticProgram,
  expectedId: string | null,
): Promise<string | undefined> {
  await requireOwnDirectory(restic);
  let text: string;
  try {
    text = await restic.run(['cat', 'config', '--quiet', '--no-lock', '--no-cache']);
  } catch (error) {
    const isMissing = isError(error, 'CommandFailed') && failureOf(error) === 'noRepository';
    if (isMissing && expectedId === null) return undefined;
    throw await restic.named(error);
  }
  const { id } = parseJson(configSchema, text, 'its config');
  if (expectedId === null || id === expectedId) return id;
  const { name: store, path } = restic.place;
  const problem = `another repository is there (${id} instead of ${expectedId})`;
  throw new UmlsnapError('StoreNotMounted', { store, path, problem });
}

/**
 * As `findRepository`, and makes a repository where there is none and none is expected.
 * @throws StoreNotMounted, StoreUnusable
 */
export async function prepareRepository(
  restic: ResticProgram,
  expectedId: string | null,
): Promise<{ id: string; created: boolean }> {
  const found = await findRepository(restic, expectedId);
  if (found !== undefined) return { id: found, created: false };
  await requireEmpty(restic);
  let created = true;
  try {
    await restic.run(['init', '--quiet']);
  } catch (error) {
    const isThere =
      isError(error, 'CommandFailed') && /config file already exists/i.test(error.facts.problem);
    // Of two that make the same one, the second takes the first one's.
    if (!isThere) throw await restic.named(error);
    created = false;
  }
  const id = await findRepository(restic, expectedId);
  if (id !== undefined) return { id, created };
  throw unusable(restic, 'it was removed at once');
}

/** restic follows links: whoever can change a repository on this host, or its path, would lead root's hand. */
async function requireOwnDirectory(restic: ResticProgram): Promise<void> {
  const directory = localDirectory(restic.place.path);
  if (directory === undefined) return;
  await requireOwnPlace(await followPath(resolve(directory))).catch((error: unknown) => {
    // What else is wrong with it, restic says.
    if (error instanceof PathRefused) throw unusable(restic, problemOf(error));
    if (errnoOf(error) === undefined) throw error;
  });
}

/** restic would put a repository between whatever lies there. */
async function requireEmpty(restic: ResticProgram): Promise<void> {
  const directory = localDirectory(restic.place.path);
  if (directory === undefined) return;
  try {
    const foreign = (await readdir(directory)).find((entry) => entry !== 'lost+found');
    if (foreign === undefined) return;
    throw unusable(
      restic,
      `it is no repository yet, and not empty (${foreign} is there): give an empty directory`,
    );
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return;
    throw errnoOf(error) === undefined ? error : unusable(restic, problemOf(error));
  }
}

function unusable({ place }: ResticProgram, problem: string): UmlsnapError {
  return new UmlsnapError('StoreUnusable', { store: place.name, path: place.path, problem });
}
