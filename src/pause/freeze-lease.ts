import { existsSync, readFileSync, rmSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { errnoOf, isOutOfRoom, problemOf, UmlsnapError } from '../errors.js';
import { bootId } from '../process-identity.js';
import { processSchema } from './lease.js';
import { writeLeaseFile } from './lease-file.js';

/**
 * A freeze lease says, in a file that outlives us, that we are about to have a guest's filesystems frozen:
 * STATE/freezes/GUEST.json. It MUST be durable before the agent is asked to, and MUST NOT be removed before the guest is
 * known to be thawed: whoever finds one whose process is dead thaws the guest.
 */

/** They become words of an order to the agent. */
const agentWord = z.string().regex(/^[A-Za-z0-9-]{1,64}$/);

const freezeLeaseSchema = z.strictObject({
  format: z.literal('umlsnap-freeze/1'),
  guest: z.string(),
  job: z.string(),
  socketPath: z.string(),
  main: processSchema,
  /** Which freeze, and by which run of the agent: how it is called off that has not begun yet. */
  nonce: agentWord,
  run: agentWord,
  bootId: z.string(),
  orchestrator: processSchema,
  /** Wall-clock: by then the timer in the guest has ended the freeze, whatever becomes of us. */
  endsByItselfAt: z.iso.datetime(),
});

export type FreezeLease = z.infer<typeof freezeLeaseSchema>;

/** Path of a guest's freeze lease. */
export function freezeLeaseFile(stateDirectory: string, guest: string): string {
  return join(stateDirectory, 'freezes', `${guest}.json`);
}

/**
 * Writes a freeze lease durably.
 * @throws StateUnusable
 */
export async function writeFreezeLease(
  file: string,
  lease: Omit<FreezeLease, 'format' | 'bootId'>,
): Promise<void> {
  const text = JSON.stringify({ format: 'umlsnap-freeze/1', bootId: bootId(), ...lease });
  await writeLeaseFile(file, text);
}

/** Removes the lease of a guest that is thawed. The guest's lock is held, so it can't be a later one's. */
export function dropFreezeLease(file: string): void {
  rmSync(file, { force: true });
}

export type FoundFreezeLease = { file: string; lease: FreezeLease } | { file: string; damaged: string };

/** Every freeze lease in the state directory; one that can't be read is told. @throws StateUnusable */
export async function findFreezeLeases(stateDirectory: string): Promise<FoundFreezeLease[]> {
  const directory = join(stateDirectory, 'freezes');
  try {
    const names = (await readdir(directory)).filter((name) => name.endsWith('.json')).sort();
    return names.map((name) => readFreezeLease(join(directory, name))).filter((found) => found !== null);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw new UmlsnapError(
      'StateUnusable',
      { path: directory, problem: problemOf(error), isFull: isOutOfRoom(error) },
      error,
    );
  }
}

/** One freeze lease, as it stands now; null when it is gone. */
export function readFreezeLease(file: string): FoundFreezeLease | null {
  if (!existsSync(file)) return null;
  try {
    return { file, lease: freezeLeaseSchema.parse(JSON.parse(readFileSync(file, 'utf8'))) };
  } catch (error) {
    return { file, damaged: problemOf(error) };
  }
}
