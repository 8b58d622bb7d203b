import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { errnoOf, problemOf, UmlsnapError } from '../errors.js';
import type { Lock } from '../locks/lock.js';
import { bootId } from '../process-identity.js';
import { writeLeaseFile } from './lease-file.js';

/**
 * A lease says, in a file that outlives us, that we are about to stop a guest: STATE/leases/GUEST.json. It MUST be
 * durable before `stop` is sent, and MUST NOT be removed or replaced before the pause is known to be over: whoever finds
 * one whose processes are dead resumes the guest.
 */

/** A ProcessIdentity, from a file or from another process. */
export const processSchema = z.strictObject({ pid: z.int().positive(), startTicks: z.int().nonnegative() });

const leaseSchema = z.strictObject({
  /** The first version had no capture process that stops a guest: its guardian did. */
  format: z.literal(['umlsnap-lease/1', 'umlsnap-lease/2']),
  guest: z.string(),
  job: z.string(),
  pause: z.string(),
  socketPath: z.string(),
  main: processSchema,
  bootId: z.string(),
  orchestrator: processSchema,
  guardian: processSchema,
  /** The capture process: nobody else sends `stop`. */
  pauser: processSchema.optional(),
  /** Wall-clock: for people, and to tell a pause that should long be over. */
  deadlineAt: z.iso.datetime(),
});

const endSchema = z.strictObject({
  endedAt: z.iso.datetime(),
  endedBy: z.enum(['request', 'deadline', 'guardian', 'recover', 'others', 'notStopped', 'guestGone']),
  pausedMs: z.number().nonnegative().nullable(),
});

/** Beside the lease, by the guardian when the pause is over: for the history of an orchestrator that died. */
const noteSchema = z.strictObject({ pause: z.string(), ended: endSchema });

export type LeaseEnd = z.infer<typeof endSchema>;
type WrittenLease = z.infer<typeof leaseSchema>;
export type Lease = WrittenLease & { ended?: LeaseEnd };

/** Path of a guest's lease. */
export function leaseFile(stateDirectory: string, guest: string): string {
  return join(stateDirectory, 'leases', `${guest}.json`);
}

/**
 * Writes a lease durably: file and directory are on disk when this returns.
 * @throws StateUnusable
 */
export async function writeLease(
  file: string,
  lease: Omit<WrittenLease, 'format' | 'bootId'>,
): Promise<void> {
  const text = JSON.stringify({ format: 'umlsnap-lease/2', bootId: bootId(), ...lease });
  await writeLeaseFile(file, text);
}

/**
 * Notes beside the lease that its pause is over; the guardian's last act. Not synced, for the disk may be busy for long:
 * after a power cut the lease's boot says the same. Therefore it MUST NOT take the place of the lease itself, whose text
 * is durable.
 */
export function endLease(file: string, pause: string, ended: LeaseEnd): void {
  if (!isLeaseOf(file, pause)) return;
  writeFileSync(`${file}.ended.new`, JSON.stringify({ pause, ended }), { mode: 0o600 });
  renameSync(`${file}.ended.new`, noteFile(file));
}

/** As `endLease`, for a guardian that leaves: only a lease that names it and that has no end yet, if there is one. */
export function endUnusedLease(file: string, guardianPid: number, ended: LeaseEnd): void {
  if (!existsSync(file)) return;
  const lease = parseLease(readFileSync(file, 'utf8'));
  if (lease.guardian.pid === guardianPid && !readNote(file, lease.pause)) endLease(file, lease.pause, ended);
}

/**
 * Removes the lease of a pause that is over and stands in the history. A lease of another pause, which a later job has
 * written under the same name, MUST stay: looked at and removed in one go, with nothing of ours between.
 */
export function dropLease(file: string, pause: string): void {
  if (!isLeaseOf(file, pause)) return;
  // In this order: a note without its lease means nothing, a lease without its note asks for a `go`.
  for (const path of [file, noteFile(file)]) {
    rmSync(path, { force: true });
  }
}

export type FoundLease = { file: string; lease: Lease } | { file: string; damaged: string };

/** Every lease in the state directory. A lease that can't be read is told, never dropped in silence. */
export async function readLeases(stateDirectory: string): Promise<FoundLease[]> {
  const directory = join(stateDirectory, 'leases');
  let names: string[];
  try {
    names = (await readdir(directory)).filter((name) => name.endsWith('.json'));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw new UmlsnapError('StateUnusable', { path: directory, problem: problemOf(error) }, error);
  }
  return await Promise.all(names.sort().map((name) => readLease(join(directory, name))));
}

/** One lease, as it stands now; null when it is gone. */
export async function readLeaseIfAny(file: string): Promise<FoundLease | null> {
  return existsSync(file) ? await readLease(file) : null;
}

/** One lease, as it stands now. */
export async function readLease(file: string): Promise<FoundLease> {
  try {
    const lease = parseLease(await readFile(file, 'utf8'));
    const ended = readNote(file, lease.pause);
    return { file, lease: ended ? { ...lease, ended } : lease };
  } catch (error) {
    return { file, damaged: problemOf(error) };
  }
}

/** Guests have one lease at a time: whoever works on it holds this lock, which is part of the lock on the guest. */
export function leaseLock(stateDirectory: string, guest: string) {
  return { on: 'state', state: stateDirectory, key: `guest ${guest}` } as const satisfies Lock;
}

function isLeaseOf(file: string, pause: string): boolean {
  return existsSync(file) && parseLease(readFileSync(file, 'utf8')).pause === pause;
}

const noteFile = (file: string) => `${file}.ended`;

const parseLease = (text: string): WrittenLease => leaseSchema.parse(JSON.parse(text));

/** The end of this pause, if it was noted. A note that can't be read, or of another pause, is none. */
function readNote(file: string, pause: string): LeaseEnd | undefined {
  try {
    const note = noteSchema.parse(JSON.parse(readFileSync(noteFile(file), 'utf8')));
    return note.pause === pause ? note.ended : undefined;
  } catch {
    // Then it is the guest that has to be asked, as if nothing had been noted.
    return undefined;
  }
}
