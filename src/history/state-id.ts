import { randomBytes, randomUUID } from 'node:crypto';
import { link, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { errnoOf, problemOf, UmlsnapError } from '../errors.js';
import { ensureDirectories, syncDirectory, writeNewFile } from '../image/durable-file.js';
import { readSmallFile } from '../path/small-file.js';

/**
 * The id of a state directory: by it snapshots are known as its own, in stores that others use as well. It lies in a file, made once
 * and never changed; the history remembers it, so that a lost file is written again with the same id.
 */

const format = 'umlsnap-state/1';
const fileSchema = z.strictObject({ format: z.literal(format), id: z.uuid() });

export interface IdMemory {
  stateId(): Promise<string | null>;
  rememberStateId(id: string): Promise<void>;
}

export const stateIdPath = (stateDirectory: string) => join(stateDirectory, 'state-id.json');

/** null where there is none. @throws StateUnusable for one that can't be read */
export async function readStateId(stateDirectory: string): Promise<string | null> {
  const path = stateIdPath(stateDirectory);
  try {
    return fileSchema.parse(JSON.parse(await readSmallFile(path))).id;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null;
    const problem = `the file with its id can't be read: ${problemOf(error)}`;
    throw new UmlsnapError('StateUnusable', { path, problem }, error);
  }
}

/** What the file says, the history says from now on; makes nothing, and never fails for the file. @throws HistoryUnusable, HistoryLocked */
export async function rememberStateId(stateDirectory: string, memory: IdMemory): Promise<void> {
  const id = await readStateId(stateDirectory).catch(() => null);
  if (id !== null && id !== (await memory.stateId())) await memory.rememberStateId(id);
}

/**
 * The id, made if there is none. The file MUST be durable before anything is sealed with the id: whoever loses it loses what is his.
 * @throws StateUnusable, HistoryUnusable, HistoryLocked
 */
export async function ensureStateId(stateDirectory: string, memory: IdMemory): Promise<string> {
  const remembered = await memory.stateId();
  const found = await readStateId(stateDirectory).catch((error: unknown) => {
    if (remembered === null) throw error;
    return undefined;
  });
  const id = found ?? (await writeStateId(stateDirectory, remembered ?? randomUUID(), found === undefined));
  if (id !== remembered) await memory.rememberStateId(id);
  return id;
}

/** Of two processes that make it at once, the second takes the first one's. */
async function writeStateId(stateDirectory: string, id: string, replaces: boolean): Promise<string> {
  const path = stateIdPath(stateDirectory);
  const temporary = `${path}.${randomBytes(4).toString('hex')}`;
  try {
    await ensureDirectories(stateDirectory);
    await writeNewFile(temporary, `${JSON.stringify({ format, id })}\n`);
    if (replaces) await rename(temporary, path);
    else
      await link(temporary, path).catch((error: unknown) => {
        if (errnoOf(error) !== 'EEXIST') throw error;
      });
    await rm(temporary, { force: true });
    await syncDirectory(stateDirectory);
  } catch (error) {
    throw new UmlsnapError('StateUnusable', { path, problem: problemOf(error) }, error);
  }
  return (await readStateId(stateDirectory)) ?? id;
}
