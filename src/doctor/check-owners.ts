import type { Ownership } from '../history/records.js';
import { type Finding, fine, trouble } from './finding.js';

/**
 * Whose the snapshots are that lie in a store under our guests' names and are not ours. Two hosts may share a store; what is nobody's
 * waits for somebody to say whose it is. Pure.
 */
export function checkOwners(store: string, ownerships: readonly Ownership[]): Finding[] {
  const hosts = new Map<string, { host: string; snapshots: number }>();
  let ofNobody = 0;
  for (const ownership of ownerships) {
    if (ownership.type === 'unknown') ofNobody += 1;
    if (ownership.type !== 'other') continue;
    const { id, host } = ownership;
    hosts.set(id, { host, snapshots: (hosts.get(id)?.snapshots ?? 0) + 1 });
  }
  if (hosts.size === 0 && ofNobody === 0) return [];
  const about = { check: 'owners', about: store } as const;
  const facts = { hosts: Object.fromEntries(hosts), ofNobody };
  const counts = [...hosts].map(([id, { host, snapshots }]) => `${snapshots} of host ${host} (${id})`);
  const others = [...counts, ...(ofNobody > 0 ? [`${ofNobody} of nobody known`] : [])].join(', ');
  const what = `Beside ours there are snapshots of our guests' names that are not ours: ${others}.`;
  if (ofNobody === 0) return [fine(about, what, facts)];
  const means = 'No rule of ours removes them, and `GUEST@latest` is none of them.';
  const mend =
    'If they are yours, and of no other host that uses this store, make them so: `umlsnap adopt unknown`.';
  return [trouble(about, { level: 'warning', what, means, mend, facts })];
}
