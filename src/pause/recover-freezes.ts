import { explainError } from '../error-text.js';
import { isError, UmlsnapError } from '../errors.js';
import { newNonce } from '../guest/agent/agent-exchange.js';
import { formatOrder } from '../guest/agent/agent-messages.js';
import { withLocks } from '../locks/exclusive-lock.js';
import { log, sysrq } from '../mconsole/commands.js';
import { MconsoleClient } from '../mconsole/mconsole-client.js';
import { printableLine } from '../mconsole/printable.js';
import { bootId, isAlive } from '../process-identity.js';
import {
  dropFreezeLease,
  type FoundFreezeLease,
  type FreezeLease,
  findFreezeLeases,
  freezeLeaseFile,
  readFreezeLease,
} from './freeze-lease.js';
import { leaseLock } from './lease.js';
import { problemOfThaw } from './freeze.js';

/** What became of a freeze lease that was found. */
export type RecoveredFreeze =
  | { found: 'thawed'; guest: string }
  /** The guest it speaks of no longer runs. */
  | { found: 'gone'; guest: string }
  | { found: 'mayBeFrozen'; guest: string; problem: string; endsByItselfAt: string };

const answerLimitMs = 5000;

/**
 * Thaws what dead processes of ours left frozen; of one guest, if the caller holds its lock. MUST come after
 * `recoverPauses`: a guest that stands still thaws nothing.
 * @throws StateUnusable
 */
export async function recoverFreezes(stateDirectory: string, guest?: string): Promise<RecoveredFreeze[]> {
  const leases = await findFreezeLeases(stateDirectory);
  const wanted = leases.filter(
    ({ file }) => guest === undefined || file === freezeLeaseFile(stateDirectory, guest),
  );
  const recovered = await Promise.all(
    wanted.map((found) =>
      guest === undefined ? recoverLocked(found, stateDirectory) : recoverFreeze(found),
    ),
  );
  return recovered.filter((freeze) => freeze !== null);
}

/** With the guest's lock: whoever holds it is at work, and ends his freeze himself. */
async function recoverLocked(
  found: FoundFreezeLease,
  stateDirectory: string,
): Promise<RecoveredFreeze | null> {
  if ('damaged' in found) return unreadable(found.file, found.damaged);
  const { guest, orchestrator } = found.lease;
  const locks = [leaseLock(stateDirectory, guest)];
  const holder = `umlsnap recover (pid ${process.pid})`;
  try {
    return await withLocks({ locks, what: `Guest ${guest}`, holder, wait: false }, async () => {
      const reread = readFreezeLease(found.file);
      return reread && (await recoverFreeze(reread));
    });
  } catch (error) {
    if (isError(error, 'Busy')) return null;
    // Where no lock can be had, no job can begin either, but one may be at work.
    if (isError(error, 'StateUnusable')) return isAlive(orchestrator) ? null : await recoverFreeze(found);
    throw error;
  }
}

/** Nobody works on the guest: a lease that is there was left by a process that died, or could not thaw. */
async function recoverFreeze(found: FoundFreezeLease): Promise<RecoveredFreeze> {
  if ('damaged' in found) return unreadable(found.file, found.damaged);
  const { guest, main, endsByItselfAt } = found.lease;
  if (found.lease.bootId !== bootId() || !isAlive(main)) {
    dropFreezeLease(found.file);
    return { found: 'gone', guest };
  }
  const problem = await thaw(found.lease);
  const isOverByItself = Date.now() > Date.parse(endsByItselfAt);
  if (problem !== null && !isOverByItself) return { found: 'mayBeFrozen', guest, problem, endsByItselfAt };
  dropFreezeLease(found.file);
  return { found: 'thawed', guest };
}

/**
 * By the agent first: one that is still at its hooks has frozen nothing yet, and would do so behind the kernel's thaw. Its answer
 * is not waited for.
 * @returns null when the kernel has thawed, else why it has not
 */
async function thaw({ socketPath, run, nonce }: FreezeLease): Promise<string | null> {
  let client: MconsoleClient | undefined;
  try {
    client = await MconsoleClient.open(socketPath);
    const order = formatOrder({ order: 'thaw', nonce: newNonce(), run, of: nonce });
    await log(client, order, { timeoutMs: answerLimitMs });
    return problemOfThaw(printableLine(await sysrq(client, 'j', { timeoutMs: answerLimitMs })));
  } catch (error) {
    if (error instanceof UmlsnapError) return explainError(error);
    throw error;
  } finally {
    client?.close();
  }
}

function unreadable(file: string, problem: string): RecoveredFreeze {
  const guest = file.replace(/^.*\//, '').replace(/\.json$/, '');
  return { found: 'mayBeFrozen', guest, problem: `${file} can't be read: ${problem}`, endsByItselfAt: '' };
}
