import type { GuestConfig } from '../config/config.js';
import { explainError } from '../error-text.js';
import type { CopiedDisks, Ready } from './copy-disks.js';
import type { Definition } from '../store/manifest.js';
import { draftOf, recordOf } from './describe-snapshot.js';
import { warningsOfPrecopy } from './precopy-facts.js';
import { type Retained, retain } from './retain.js';
import type { SnapshotOrder, SnapshotPorts, SnapshotTaken } from './snapshot-order.js';

type Copied = CopiedDisks &
  Pick<Ready, 'disks' | 'incoming' | 'plan' | 'freezing'> &
  Pick<SnapshotTaken, 'hasAgent'> & { kernel: string; definition: Definition };

/** Phases seal and retain. The guest runs, and has no more part in it. */
export async function keepSnapshot(
  order: SnapshotOrder,
  ports: SnapshotPorts,
  copied: Copied,
): Promise<SnapshotTaken> {
  const { config, job, owner, labels, pinned, signal } = order;
  const { store, history, journal } = ports;
  const { captured, precopy, backings, disks, incoming, plan, freezing, kernel, definition, hasAgent } =
    copied;
  await journal.enter('seal');
  const facts = {
    guest: config.name,
    job,
    owner,
    kernel,
    definition,
    method: plan.method,
    labels,
    pinned,
    captured,
    disks,
  };
  const manifest = await store.seal(incoming, draftOf({ ...facts, backings }), signal);
  // The store is the truth and its index follows: the row MUST NOT come before the snapshot is durable.
  await history.recordSnapshot(recordOf(store.name, manifest, 'own'));
  await journal.enter('retain');
  const { removed, warnings } = await retainOrWarn(config, ports);
  await journal.finish('done');
  const told = [...plan.warnings, ...warningsOfPrecopy(precopy), ...freezing.warnings, ...warnings];
  const { tries, written } = captured;
  return { plan, precopy, manifest, tries, hasAgent, written, removed, warnings: told };
}

/** The snapshot exists and is good by now: what goes wrong with older ones is a warning. */
async function retainOrWarn(
  config: GuestConfig,
  { store, history }: SnapshotPorts,
): Promise<Pick<Retained, 'removed' | 'warnings'>> {
  try {
    return await retain(config, store, history, { now: new Date() });
  } catch (error) {
    return { removed: [], warnings: [`expired snapshots could not be removed: ${explainError(error)}`] };
  }
}
