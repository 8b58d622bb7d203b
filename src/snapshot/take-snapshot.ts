import { withAgent } from '../guest/agent/with-agent.js';
import { EventRecorder } from '../guest/event-recorder.js';
import { withGuest } from '../guest/guest.js';
import type { NotificationSource } from '../mconsole/notify-listener.js';
import { copyDisks } from './copy-disks.js';
import { Freezing } from './freezing.js';
import { keepSnapshot } from './keep-snapshot.js';
import type { SnapshotStore } from './ports.js';
import { type CapturePlan, checkGuest, checkStore, planCapture } from './preflight.js';
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
  const { store, history, journal } = ports;
  await journal.enter('preflight');
  return await withGuest(config, (guest) =>
    withSourceDisks(config, async (disks) => {
      const { kernel, processes, cpus } = await checkGuest(guest, disks);
      await checkStore(store, history);
      await discardLeftovers(store, config.name);
      const { pid } = processes.main;
      const search = { guest, pid, holder: `umlsnap job ${job}`, signal };
      const listener = (await ports.notifications?.()) ?? null;
      return await withAgent(search, listener, (found, source) =>
        withRecordedEvents(listener ? null : source, config.name, history, async () => {
          const freezing = new Freezing(config, found);
          return await withIncoming(store, config.name, job, async (incoming) => {
            const plan = await planCapture(config, disks, store, incoming, signal);
            journal.note({ kernel, ...plan, agent: freezing.agent ? 'ready' : found.missing?.cause });
            if (order.dryRun) return nothingTaken(plan, freezing);
            const watched = { guest: config.name, source, phase: () => journal.phase, signal };
            // Not until the end: what is captured is good, whatever becomes of its guest.
            const copied = await whileGuestLives(watched, (signal) =>
              copyDisks({ ...order, signal }, ports, {
                ...{ guest, disks, processes, incoming, plan, freezing, isSmp: cpus > 1 },
              }),
            );
            return await keepSnapshot(order, ports, {
              ...{ disks, incoming, plan, freezing, kernel },
              ...copied,
            });
          });
        }),
      );
    }),
  );
}

/** What a guest says to us is written down. @param source null when it says it to somebody else, who does so, or to nobody */
async function withRecordedEvents<T>(
  source: NotificationSource | null,
  guest: string,
  history: SnapshotPorts['history'],
  use: () => Promise<T>,
): Promise<T> {
  if (source === null) return await use();
  // A history that can't be written fails the job by the job's own records.
  const recorder = new EventRecorder(guest, history, () => {});
  const stop = source.subscribe((notification) => recorder.take(notification));
  try {
    return await use();
  } finally {
    stop();
    await recorder.settled();
  }
}

function nothingTaken(plan: CapturePlan, freezing: Freezing): SnapshotTaken {
  const warnings = [...plan.warnings, ...freezing.warnings];
  return { plan, precopy: null, manifest: null, tries: 0, removed: [], warnings };
}

/** The guest's lock is held: whatever is incoming for it was left by a job that died. */
async function discardLeftovers(store: SnapshotStore, guest: string): Promise<void> {
  const leftovers = (await store.incomings()).filter((incoming) => incoming.guest === guest);
  for (const incoming of leftovers) await store.discard(incoming);
}
