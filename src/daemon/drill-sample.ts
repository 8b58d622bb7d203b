import { type DrillHistory, drillFound } from '../../jobs/drill.js';
import type { DrillConfig } from '../config/drill-config.js';
import type { CopyIndex, SearchedStore } from '../copies/ask-stores.js';
import type { FoundSnapshot } from '../copies/find-snapshot.js';
import { isHistoryFailure, UmlsnapError } from '../errors.js';
import type { DrillRecord, Trigger } from '../history/records.js';
import type { JobSummary, OnJob } from '../job/recorded-job.js';
import { type OwnershipHistory, ownershipIn } from '../snapshot/ownership.js';
import { asListed, findingsIn } from '../store/soundness.js';

export interface SampleDeps {
  config: DrillConfig;
  stores: SearchedStore[];
  history: DrillHistory & CopyIndex & OwnershipHistory & { drills(): Promise<DrillRecord[]> };
}

export interface SampleOrder {
  trigger: Trigger;
  signal: AbortSignal;
  onJob?: (job: string, guest: string) => void;
  /** A store that could not be asked. */
  onProblem(error: UmlsnapError): void;
}

/**
 * Drills the newest snapshot of some guests: of those whose last drill is the longest ago, so many as the config says, one after
 * the other.
 */
export async function drillSample(deps: SampleDeps, order: SampleOrder): Promise<JobSummary[]> {
  const { history, config } = deps;
  const { trigger, signal, onJob } = order;
  const newest = await newestOfGuests(deps, order);
  const guests = longestNotDrilled([...newest.keys()], await history.drills()).slice(0, config.sample);
  const summaries: JobSummary[] = [];
  for (const guest of guests) {
    const found = newest.get(guest);
    if (!found || signal.aborted) continue;
    const tellJob: OnJob = (job) => onJob?.(job, guest);
    try {
      const origin = { trigger, onJob: tellJob };
      summaries.push(await drillFound(found, deps, { wait: true, signal }, origin));
    } catch (error) {
      // It was removed meanwhile: the other guests of the sample have theirs.
      if (!(error instanceof UmlsnapError) || isHistoryFailure(error)) throw error;
      order.onProblem(error);
    }
  }
  return summaries;
}

/**
 * Of our own, damaged ones as well: that the newest snapshot of a guest can't be booted is what a drill is there to tell. Of its copies,
 * the first that is not damaged.
 */
async function newestOfGuests(
  { stores, history }: SampleDeps,
  { onProblem }: SampleOrder,
): Promise<Map<string, FoundSnapshot<SearchedStore>>> {
  const newest = new Map<string, FoundSnapshot<SearchedStore>>();
  const findings = await findingsIn(history, {});
  const isDamaged = ({ store, stored }: FoundSnapshot<SearchedStore>) =>
    findings.soundnessOf(store.name, asListed(stored), false).type === 'damaged';
  for (const store of stores) {
    try {
      if (!(await store.isMounted(await history.storeId(store.name)))) continue;
      const listed = await store.list();
      const ownership = await ownershipIn(store.name, listed, history);
      for (const stored of listed.filter((one) => ownership(one).type === 'own')) {
        const before = newest.get(stored.guest);
        const isOlder = before && before.stored.snapshot > stored.snapshot;
        const isSame = before && before.stored.snapshot === stored.snapshot;
        if (isOlder || (isSame && !isDamaged(before))) continue;
        newest.set(stored.guest, { store, stored });
      }
    } catch (error) {
      if (!(error instanceof UmlsnapError)) throw error;
      onProblem(error);
    }
  }
  return newest;
}

/** Those that were never drilled first, then by their last drill, of whatever snapshot. Pure. */
export function longestNotDrilled(
  guests: string[],
  drills: Pick<DrillRecord, 'guest' | 'drilledAt'>[],
): string[] {
  const last = new Map<string, string>();
  for (const { guest, drilledAt } of drills) {
    if (drilledAt > (last.get(guest) ?? '')) last.set(guest, drilledAt);
  }
  const key = (guest: string) => `${last.get(guest) ?? ''} ${guest}`;
  return [...guests].sort((a, b) => (key(a) < key(b) ? -1 : 1));
}
