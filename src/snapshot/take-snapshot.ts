import { withAgent } from '../guest/agent/with-agent.js';
import { type EventLedger, EventRecorder } from '../guest/event-recorder.js';
import { withGuest } from '../guest/guest.js';
import { isHalted } from '../guest/guest-condition.js';
import type { NotificationSource } from '../mconsole/notify-listener.js';
import { copyDisks } from './copy-disks.js';
import { Freezing } from './freezing.js';
import { keepSnapshot } from './keep-snapshot.js';
import { readDefinition } from './read-definition.js';
import type { SnapshotStore } from './ports.js';
import { type CapturePlan, checkGuest, checkSizes, checkStore, planCapture } from './preflight.js';
import { withIncoming } from './scopes.js';
import type { SnapshotOrder, SnapshotPorts, SnapshotTaken } from './snapshot-order.js';
import { withSourceDisks } from './source-disks.js';
import { whileGuestLives } from './while-guest-lives.js';

/**
 * The sequence: one backup of one guest. Every scope undoes its own part when anything inside it fails, innermost first:
 * the guest is resumed, then the capture is ended, then the incoming copy is thrown away.
 */
export async function takeSnapshot(order: SnapshotOrder, ports: SnapshotPorts): Promise<SnapshotTaken> {
  const { config, job, signal } = order;
  const { store, history, journal, log } = ports;
  await journal.enter('preflight');
  return await withGuest(config, (guest) =>
    withSourceDisks(config, async (disks) => {
      await checkSizes(config.name, disks, store);
      const { kernel, processes, cpus } = await checkGuest(guest, disks);
      await checkStore(store, history);
      await discardLeftovers(store, config.name);
      const { pid } = processes.main;
      const search = {
        guest,
        pid,
        stateDirectory: order.stateDirectory,
        holder: `umlsnap job ${job}`,
        signal,
      };
      const listener = (await ports.notifications?.()) ?? null;
      const ears = { guest: config.name, log, history: listener ? null : history };
      return await withAgent(search, listener, (found, source) =>
        withRecordedEvents(source, ears, async () => {
          const freezing = new Freezing(config, found);
          return await withIncoming(store, { guest: config.name, job, log }, async (incoming) => {
            const plan = await planCapture(config, disks, store, incoming, signal);
            journal.note({ kernel, ...plan, agent: freezing.agent ? 'ready' : found.missing?.cause });
            const hasAgent = freezing.agent !== null;
            if (order.dryRun) return nothingTaken(plan, freezing, hasAgent);
            // Its console is asked: not while it stands still, and not while its writes are followed.
            const definition = await readDefinition(guest, processes.main, order.stateDirectory);
            for (const note of definition.notes) log.info(`of how the guest is run, ${note}`);
            const watched = {
              ...{ guest: config.name, processes, source, signal },
              ...{ phase: () => journal.phase, isHalted: () => isHalted(config) },
            };
            // Not until the end: what is captured is good, whatever becomes of its guest.
            const copied = await whileGuestLives(watched, (signal) =>
              copyDisks({ ...order, signal }, ports, {
                ...{ guest, disks, processes, incoming, plan, freezing, isSmp: cpus > 1 },
              }),
            );
            return await keepSnapshot(order, ports, {
              ...{ disks, incoming, plan, freezing, kernel, definition, hasAgent },
              ...copied,
            });
          });
        }),
      );
    }),
  );
}

interface Ears {
  guest: string;
  log: SnapshotPorts['log'];
  /** null: somebody else listens, who writes down what it says. */
  history: SnapshotPorts['history'] | null;
}

/** What a guest says meanwhile is told in the job's log, and written down. @param source null: nobody hears it */
async function withRecordedEvents<T>(
  source: NotificationSource | null,
  { guest, log, history }: Ears,
  use: () => Promise<T>,
): Promise<T> {
  if (source === null) return await use();
  const told: EventLedger = { recordEvent: async (event) => log.guestSaid(event) };
  // A history that can't be written fails the job by the job's own records. The log does not wait for it.
  const recorders = [told, ...(history ? [history] : [])].map(
    (ledger) => new EventRecorder(guest, ledger, () => {}),
  );
  const stop = source.subscribe((notification) => {
    for (const recorder of recorders) recorder.take(notification);
  });
  try {
    return await use();
  } finally {
    stop();
    for (const recorder of recorders) await recorder.settled();
  }
}

function nothingTaken(plan: CapturePlan, freezing: Freezing, hasAgent: boolean): SnapshotTaken {
  const warnings = [...plan.warnings, ...freezing.warnings];
  return { plan, precopy: null, manifest: null, tries: 0, hasAgent, written: [], removed: [], warnings };
}

/** The guest's lock is held: whatever is incoming for it was left by a job that died. */
async function discardLeftovers(store: SnapshotStore, guest: string): Promise<void> {
  const leftovers = (await store.incomings()).filter((incoming) => incoming.guest === guest);
  for (const incoming of leftovers) await store.discard(incoming);
}
